"""`alias` in nested locations, with `try_files`, an index, `if` and a rewritten URI, beside nginx: which file is opened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.comparison import Comparison, compare_with_nginx

FILES = """
d/a.css d/a.txt d/index.html d/sub/a.css d/sub/index.html d/sub/a.txt d/deep/a.txt d/static/a.css d/n/a.txt d/a.txt.html
e/a.css e/a.txt e/index.html e/sub/a.css e/x/a.txt www/static/a.css www/index.html www/a.txt www/n/a.css da.css dsub/a.css
""".split()

LOCATIONS = {
    "nested regex": r"location /static/ { alias F/d/; location ~* \.css$ { add_header N css always; } }",
    "nested regex with try_files": r"location /static/ { alias F/d/; location ~ \.css$ { try_files $uri =404; } }",
    "nested prefix": "location /static/ { alias F/d/; location /static/sub/ { add_header N sub always; } }",
    "nested exact": "location /static/ { alias F/d/; location = /static/a.css { add_header N exact always; } }",
    "nested twice": r"location /static/ { alias F/d/; location /static/sub/ { location ~ \.css$ { add_header N 2 always; } } }",
    "inner alias": "location /static/ { alias F/d/; location /static/sub/ { alias F/e/; } }",
    "inner root": r"location /static/ { alias F/d/; location ~ \.css$ { root F/www; } }",
    "inner alias of a regex": r"location /static/ { alias F/d/; location ~ ^/static/(.*)\.css$ { alias F/e/$1.css; } }",
    "inside of a regex": r"location ~ ^/static/(.*)$ { alias F/d/$1; location ~ \.css$ { add_header N in always; } }",
    "a regex without captures": r"location ~ ^/static/ { alias F/d/; }",
    "a regex and a file": r"location ~ ^/static/ { alias F/d/a.css; }",
    "a regex and an index": r"location ~ ^/static/(.*)$ { alias F/d/$1; index index.html; }",
    "a regex and try_files": r"location ~ ^/static/(.*)$ { alias F/d/$1; try_files $uri /index.html; }",
    "a regex and a directory": r"location ~ ^/static/(.*)$ { alias F/d/$1; try_files $uri/ =404; }",
    "a regex and a suffix": r"location ~ ^/static/(.*)$ { alias F/d/$1; try_files '' .html =404; }",
    "without a slash": "location /static { alias F/d; }",
    "without the alias's slash": "location /static/ { alias F/d; }",
    "without a slash, nested": r"location /static { alias F/d; location ~ \.css$ { add_header N x always; } }",
    "with try_files": "location /static/ { alias F/d/; try_files $uri $uri/ /static/a.txt; }",
    "with nested try_files": "location /static/ { alias F/d/; location /static/sub/ { try_files $uri /static/a.txt =404; } }",
    "with a constant candidate": "location /static/ { alias F/d/; location /static/sub/ { try_files a.css =404; } }",
    "with a fallback": "location /static/ { alias F/d/; location /static/n/ { try_files $uri @n; } } location @n { return 410; }",
    "with if": r"location /static/ { alias F/d/; if ($arg_x) { add_header N if always; } }",
    "with an if inside": r"location /static/ { alias F/d/; location ~ \.css$ { if ($uri) { add_header N if always; } } }",
    "with a rewrite": "location /static/ { alias F/d/; rewrite ^/static/b(.*)$ /static/a$1 break; }",
    "with a rewrite to elsewhere": "location /static/ { alias F/d/; rewrite ^ /a.txt break; }",
    "with a rewrite to a short URI": "location /static/ { alias F/d/; rewrite ^ /a break; }",
    "with a variable": "location /static/ { set $where d; alias F/$where/; location /static/sub/ { add_header N v always; } }",
    "names of files": 'location /static/ { alias F/d/; location /static/sub/ { return 200 "$request_filename $is_args"; } }',
    "names of files of a regex": r'location /static/ { alias F/d/; location ~ s { return 200 "$request_filename"; } }',
    "names of files by a regex": r'location ~ ^/static/(.*)$ { alias F/d/$1; return 200 "$request_filename $document_root"; }',
    "an autoindex": "location /static/ { alias F/d/; autoindex on; index none; location /static/sub/ { index none; } }",
    "a directory": "location /static/ { alias F/d/; location /static/deep/ { index none; } }",
    "any case": r"location ~* ^/STATIC/(.*)$ { alias F/d/$1; }",
    "an error page": r"location /static/ { alias F/d/; error_page 404 /static/sub/a.txt; location /static/sub/ { internal; } }",
    "limit_except": "location /static/ { alias F/d/; limit_except GET { deny all; } }",
}
TARGETS = """
/static/a.css /static/a.txt /static/ /static /static/sub/a.css /static/sub/ /static/sub /static/sub/a.txt /static/none.css
/static/none
/static/b.css /static/b.txt /static/a.css?x=1 /static/deep/ /static/n/a.txt /static/n/none /staticx /static/../static/a.css
/static/%61.css /static//a.css /static/static/a.css
""".split()
CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off; server_tokens off; default_type text/plain; etag off;
    SERVERS
}
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("alias")
    for name in FILES:
        (folder / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "f" / name).write_text(name)
    servers = [
        f"server {{ listen 127.0.0.1:@PORT@; server_name s{number}.t; root F/www; {text} }}"
        for number, text in enumerate(LOCATIONS.values())
    ]
    with compare_with_nginx(CONF.replace("SERVERS", "\n".join(servers)).replace("F/", f"{folder}/f/"), folder) as both:
        yield both


@pytest.mark.parametrize("name", LOCATIONS)
def test_the_file_is_the_same(both: Comparison, name: str) -> None:
    host = f"s{list(LOCATIONS).index(name)}.t"
    differences = []
    for target in TARGETS:
        for method in ("GET", "POST"):
            theirs, ours = both.ask(target, method, [("Host", host)])
            seen = [both.shown(response) for response in (ours, theirs)]
            for one in seen:
                # A listing has a length here.
                left_out = ("last-modified", "content-length" if b"Index of" in one["body"] else "")
                one["fields"] = [pair for pair in one["fields"] if pair[0] not in left_out]
            if seen[0] != seen[1]:
                differences.append(
                    f"{method} {target}:"
                    + "".join(f" {key}: {seen[0][key]} theirs {seen[1][key]}" for key in seen[0] if seen[0][key] != seen[1][key])
                )
    assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:6])
