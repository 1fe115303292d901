"""fastapi-proxy-lib's reverse application on the first upstream."""

import os

from fastapi_proxy_lib.fastapi.app import reverse_http_app

app = reverse_http_app(base_url=f"http://127.0.0.1:{os.environ['BENCH_UPSTREAMS'].split(',')[0]}/")
