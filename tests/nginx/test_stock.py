"""The parameter files of nginx that the package has."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_proxy.nginx import reader
from wsgi_proxy.nginx.reader import STOCK_FILES


def params(folder: Path, included: str) -> list[str]:
    """Return the names of the parameters that a configuration in this directory has by an include."""
    module = included.rpartition("/")[2].partition(".")[0].removesuffix("_params")
    text = f"events {{}} http {{ server {{ location / {{ include {included}; {module}_pass 127.0.0.1:9; }} }} }}"
    gateway = reader.loads(text, path=str(folder / "nginx.conf")).servers[0].locations[0].proxy.gateway
    assert gateway is not None
    return [param.name for param in gateway.param]


@pytest.mark.parametrize("name", sorted(STOCK_FILES - {"mime.types"}))
def test_a_file_that_does_not_exist_is_the_packages(tmp_path: Path, name: str) -> None:
    found = params(tmp_path, name)
    assert {"REQUEST_METHOD", "REQUEST_URI", "QUERY_STRING", "REMOTE_ADDR", "SERVER_PROTOCOL", "HTTPS"} <= set(found)
    assert ("SCRIPT_FILENAME" in found) == (name == "fastcgi.conf")
    assert ("CONTENT_LENGTH" in found) == (name != "scgi_params")
    assert params(tmp_path, str(tmp_path / "etc" / name)) == found


def test_a_file_beside_the_configuration_comes_first(tmp_path: Path) -> None:
    (tmp_path / "fastcgi_params").write_text("fastcgi_param MINE 1;")
    assert params(tmp_path, "fastcgi_params") == ["MINE"]


def test_another_file_is_still_missing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="No such file or directory"):
        params(tmp_path, "my_fastcgi_params")


def test_the_files_are_those_of_the_package() -> None:
    assert {path.name for path in Path(reader.STOCK).iterdir()} == {f"{name}.txt" for name in STOCK_FILES}
