"""The description of the API is served, is the committed one, and is OpenAPI 3.1 by the judgement of others; the page
that shows it comes from the program alone."""

import json
import re

import openapi_spec_validator

from harness import ROOT


def test_the_description_is_served_and_is_openapi(server):
    status, headers, body = server.request("GET", "/api/v1/openapi.json", token=None)
    assert status == 200 and headers["Content-Type"] == "application/json"
    served = json.loads(body)
    assert served == json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert served["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(served)


def test_the_page_loads_nothing_from_elsewhere(server):
    status, headers, page = server.request("GET", "/docs", token=None)
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    parts = re.findall(rb'(?:src|href)="([^"]+)"', page)
    assert {b"/docs/page.js", b"/docs/page.css"} <= set(parts)
    for part in parts:
        assert part.startswith(b"/") and not part.startswith(b"//"), part
        assert server.request("GET", part.decode(), token=None, headers={"Accept": "text/html"})[0] == 200, part


def test_every_call_that_the_pages_name_is_described():
    paths = json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"]
    described = {(method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in paths.items() for method in methods}
    for language in ("en", "zh"):
        page = (ROOT / "docs" / language / "api.md").read_text()
        named = re.findall(r"`((?:GET|POST|PATCH|DELETE)(?:`[,、]\s?`\w+)*) (/[\w/{}.\u4e00-\u9fff]+)", page)
        calls = {(method, re.sub(r"\{[^}]+\}", "{}", path)) for methods, path in named for method in re.findall(r"\w+", methods)}
        assert len(calls) > 25 and calls <= described, calls - described
