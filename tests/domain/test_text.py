"""Sentences in three languages, and which of them a name means."""

from __future__ import annotations

import unicodedata

import pytest

from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text, folded, language_named, normalised


@pytest.mark.parametrize(
    ("names", "language"),
    [
        (
            ("zh", "zh-CN", "zh-Hans-HK", "zh_CN.UTF-8", "zh-SG", "Chinese (Simplified)_China", "zh-CN,zh-TW;q=0.8"),
            "zh",
        ),
        (("zh-TW", "zh-hk", "zh-Hant", "zh_TW.UTF-8", "zh-MO,en", "Chinese (Traditional)_Taiwan"), "zh-Hant"),
        (("en", "en-GB,zh-TW;q=0.9", "C", "", None, "fr-FR", "*", 7), "en"),
    ],
)
def test_a_browsers_or_systems_name_means_a_language(names: tuple[object, ...], language: str) -> None:
    assert {name: language_named(name) for name in names} == dict.fromkeys(names, language)


def test_traditional_chinese_is_made_of_simplified_phrases_too() -> None:
    text = Text("The software could not be saved", "软件无法保存，请检查网络和内存，然后点击「开始」")
    assert text.to("zh") == text.zh
    assert text.to("en") == text.en
    assert text.to("zh-Hant") == "軟體無法儲存，請檢查網路和記憶體，然後按一下「開始」"


def test_words_of_the_trade_are_those_of_taiwan() -> None:
    text = Text("", "高级：局部重绘，扩展画布，蒙版，初始噪声，卸载模型")
    assert text.to("zh-Hant") == "進階：局部重繪，擴展畫布，遮罩，初始雜訊，卸載模型"
    text = Text("", "没有可读取的提示词或采样器；请选择预设，撤销，或检查权限、镜像地址和令牌（8 位），18 位整数")
    assert text.to("zh-Hant") == (
        "沒有可讀取的提示詞或取樣器；請選擇預設集，復原，或檢查權限、鏡像位址和權杖（8 位元），18 位整數"
    )


def test_what_the_user_wrote_is_never_converted() -> None:
    error = RequestError(
        "prompt", Text("there is no wildcard __时间__; there are 软件, 云", "没有通配符 __时间__；可用：软件, 云")
    )
    assert error.to("zh-Hant") == "prompt：沒有萬用字元 __时间__；可用：软件, 云"
    kept = Text("已用 {seconds} s of 内存.+", "内存里已用 {seconds} 秒，内存.+")
    assert kept.to("zh-Hant") == "内存裡已用 {seconds} 秒，内存.+"


def test_a_text_without_chinese_is_english_everywhere() -> None:
    assert [Text("a boat").to(language) for language in ("en", "zh", "zh-Hant")] == ["a boat"] * 3


@pytest.mark.parametrize(
    "text", ["", "Ｈｄｒ  过度\n", "e\u0301\u0327a" * 40, "ｶﾞ" * 40, "\u0344x", "a" + "\u0315\u0300" * 15]
)
def test_texts_are_compared_without_case_and_width(text: str) -> None:
    assert normalised(text, "NFKC") == unicodedata.normalize("NFKC", text)
    assert folded(text) == " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@pytest.mark.parametrize("second", ["\u0300", "\uff9e"])
def test_runs_of_marks_take_no_more_time_than_letters(second: str) -> None:
    half = 250_000  # as one run this takes an hour
    found = normalised("a" + "\u0315" * half + second * half, "NFKC")
    assert sorted(set(found)) == sorted({"a", "\u0315", unicodedata.normalize("NFKC", second)})
    assert len(found) == 1 + 2 * half
