"""Converts the app's simplified Chinese sentences to the traditional characters and words of Taiwan.

OpenCC's dictionaries (https://github.com/BYVoid/OpenCC, Apache-2.0) save writing a third text by hand.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_CONFIGURATION = "s2twp"
"""OpenCC's name for simplified to Taiwanese Chinese, including phrases: 软件 becomes 軟體."""
_CHINESE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_REMEMBERED = 8192
_OWN_WORDS = {
    "點選": "按一下",
    "質量": "品質",
    "引數": "參數",
    "獲取": "取得",
    "全域性": "全域",
    "型別": "類型",
    "當前": "目前",
    "響應": "回應",
    "視訊記憶體": "顯示記憶體",
    "關鍵詞": "關鍵字",
    "校驗": "驗證",
    "畫素": "像素",
    "高階": "進階",
    "區域性": "局部",
    "擴充套件": "擴展",
    "限制物件": "限制對象",
    "噪聲": "雜訊",
    "蒙版": "遮罩",
    "解除安裝": "卸載",
    "滑塊": "滑桿",
    "預設": "預設集",
    "許可權": "權限",
    "賬號": "帳號",
    "映象": "鏡像",
    "介面卡": "適配器",
    "例項": "執行個體",
    "令牌": "權杖",
    "迴圈": "循環",
    "通過 gradio_client": "透過 gradio_client",
    "依賴包": "相依套件",
    "個依賴": "個相依套件",
    "（8 位）": "（8 位元）",
    "（4 位，": "（4 位元，",
    "4 位 GGUF": "4 位元 GGUF",
    " 8 位檔案": " 8 位元檔案",
    " 8 位文本": " 8 位元文字",
    "文本": "文字",
    "示例": "範例",
    "演示": "示範",
    "撤銷": "復原",
    "花括號": "大括號",
    "普通下劃線": "底線",
    "空格鍵": "空白鍵",
    "字尾": "副檔名",
    "單元格": "儲存格",
    "反饋": "回饋",
    "地址": "位址",
    "灰度": "灰階",
    "居中裁剪": "置中裁切",
    "採樣": "取樣",
    "回收站": "資源回收筒",
}
"""Corrections: OpenCC's word → the word that suits a page."""


@lru_cache(_REMEMBERED)
def traditional(zh: str, en: str = "") -> str:
    """``zh`` in traditional Chinese. Chinese that is in ``en`` too was typed by the user and stays unchanged."""
    own = sorted(set(_CHINESE.findall(en)), key=len, reverse=True)
    if not own:
        return _converted(zh)
    pieces = re.split(f"({'|'.join(map(re.escape, own))})", zh)
    return "".join(piece if place % 2 else _converted(piece) for place, piece in enumerate(pieces))


def _converted(text: str) -> str:
    converted = str(_converter().convert(text))
    for theirs, ours in _OWN_WORDS.items():
        converted = converted.replace(theirs, ours)
    return converted


@lru_cache(1)
def _converter() -> Any:
    from opencc import OpenCC  # loading takes a quarter of a second, and only some users need it

    return OpenCC(_CONFIGURATION)
