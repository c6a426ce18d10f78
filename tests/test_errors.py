import pytest

from quadrat.errors import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:sec/r+t=@bucket/a.tif", "s3://***@bucket/a.tif"),
        ("/vsicurl/https://user:p@ss@x.org:8080/a.tif: gone", "/vsicurl/https://***@x.org:8080/a.tif: gone"),
        ("'https://token@x.org/a.tif'", "'https://***@x.org/a.tif'"),
        ("https://x.org/a.tif?sig=abc&se=2030 (config.yaml)", "https://x.org/a.tif?*** (config.yaml)"),
        ("s3://k:one@x and s3://k:two@y?three", "s3://***@x and s3://***@y?***"),
        ("https://user:a pass word@x.org/a.tif", "https://***@x.org/a.tif"),
    ],
)  # fmt: skip
def test_user_password_and_query_of_a_url_are_not_shown(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("401: access_token=abc.def&x=1", "401: access_token=***&x=1"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
        ("password=hunter2 refused", "password=*** refused"),
    ],
)
def test_tokens_are_not_shown_outside_of_urls_either(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text", ["https://x.org:8080/a.tif", "a@b.tif", "what? is: @", "north/a?.tif", "C:\\a@b"]
)
def test_other_text_stays(text):
    assert masked(text) == text
