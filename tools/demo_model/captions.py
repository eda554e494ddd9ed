"""Words for a scene, in Chinese and English, freely worded and incomplete as prompts are.

:func:`caption` leaves things out at random (a prompt rarely says everything) and sometimes adds words that mean
nothing here, so that unknown words do no harm. What it says is always true of the scene.
"""

import random
from dataclasses import dataclass
from typing import Literal

from tools.demo_model.scene import Scene, Side, default_celestial_side

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")
Phrases = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Words:
    """One language's phrases for every attribute value."""

    time: Phrases
    ground: Phrases
    kind: Phrases
    colour: Phrases
    mountains: Phrases
    tree: Phrases
    side: Phrases
    clouds: tuple[str, ...]
    style: tuple[str, ...]
    """Openings that say what kind of picture it is."""
    filler: tuple[str, ...]
    """Words that say nothing about the scene."""
    unwanted: tuple[str, ...]
    """What people write into a negative prompt."""
    comma: tuple[str, ...]


EN = Words(
    time={
        "dawn": ("at dawn", "at sunrise", "in the early morning", "at daybreak"),
        "day": ("at noon", "on a clear day", "in daylight", "on a sunny day", "by day"),
        "sunset": ("at sunset", "at dusk", "in the evening", "in the evening glow"),
        "night": ("at night", "under a starry sky", "on a starry night", "by night"),
    },
    ground={
        "lake": ("a calm lake", "a quiet lake", "a lake", "the lake", "still water"),
        "sea": ("the sea", "ocean waves", "the blue sea", "the ocean", "gentle waves"),
        "desert": ("a desert", "golden sand dunes", "a sandy desert", "the dunes", "the desert"),
        "meadow": (
            "a green meadow",
            "a flower meadow",
            "grassland",
            "the grass",
            "a field of flowers",
            "a green field",
        ),
        "snow": ("a snowy field", "a snow-covered land", "a winter landscape", "the snow", "a snowfield"),
    },
    kind={
        "boat": ("boat", "sailboat", "sailing boat", "little boat"),
        "house": ("house", "cottage", "small house", "little house", "cabin"),
        "lighthouse": ("lighthouse", "lighthouse", "tall lighthouse"),
        "pagoda": ("pagoda", "pagoda", "temple", "tall pagoda"),
        "balloon": ("hot air balloon", "hot air balloon", "balloon", "hot-air balloon"),
    },
    colour={"red": ("red",), "yellow": ("yellow",), "blue": ("blue",), "white": ("white",)},
    mountains={
        "snowy": ("snowy mountains", "snow-capped mountains", "snowy peaks", "distant snowy mountains"),
        "green": ("green mountains", "green hills", "distant green mountains", "mountains"),
    },
    tree={
        "pine": ("pine trees", "pines", "a pine tree"),
        "cherry": ("cherry blossoms", "cherry trees", "sakura", "a cherry tree"),
        "palm": ("palm trees", "palms", "a palm tree"),
    },
    side={
        "left": ("on the left", "on the left side", "to the left"),
        "right": ("on the right", "on the right side", "to the right"),
        "center": ("in the middle", "in the center"),
    },
    clouds=("clouds", "white clouds", "some clouds", "a few clouds"),
    style=("an illustration: ", "a paper-cut scene: ", "flat illustration of ", "a picture of "),
    filler=("beautiful", "peaceful", "highly detailed", "minimalist", "masterpiece", "soft light", "4k", "cozy mood"),
    unwanted=("blurry", "low quality", "ugly", "text", "watermark", "bad anatomy", "noise", "deformed"),
    comma=(", ",),
)

ZH = Words(
    time={
        "dawn": ("黎明", "清晨", "日出时分", "早晨", "拂晓"),
        "day": ("正午", "白天", "晴天", "中午", "阳光明媚的白天"),
        "sunset": ("夕阳下", "黄昏", "傍晚", "日落时分", "晚霞中"),
        "night": ("夜晚", "星空下", "深夜", "夜里", "繁星满天的夜晚"),
    },
    ground={
        "lake": ("平静的湖面", "湖", "宁静的湖泊", "湖面", "湖水"),
        "sea": ("大海", "海浪", "蓝色的海", "海面", "海"),
        "desert": ("沙漠", "金色的沙丘", "沙丘", "大漠", "金黄的沙漠"),
        "meadow": ("绿色的草地", "草原", "开满鲜花的草地", "草地", "绿草地"),
        "snow": ("雪地", "冬天的雪原", "白雪覆盖的大地", "雪原", "白茫茫的雪地"),
    },
    kind={
        "boat": ("小船", "帆船", "船", "小帆船"),
        "house": ("房子", "小屋", "小房子", "木屋"),
        "lighthouse": ("灯塔", "灯塔", "高高的灯塔"),
        "pagoda": ("宝塔", "塔", "寺庙", "古塔"),
        "balloon": ("热气球", "热气球", "大热气球"),
    },
    colour={
        "red": ("红色", "红色的", "红"),
        "yellow": ("黄色", "黄色的", "黄"),
        "blue": ("蓝色", "蓝色的", "蓝"),
        "white": ("白色", "白色的", "白"),
    },
    mountains={
        "snowy": ("雪山", "远处的雪山", "远处雪山", "远处是雪山"),
        "green": ("青山", "绿色的山", "远处的青山", "远山"),
    },
    tree={
        "pine": ("松树", "松林", "一棵松树"),
        "cherry": ("樱花", "樱花树", "一树樱花"),
        "palm": ("棕榈树", "椰子树", "椰树"),
    },
    side={"left": ("左边", "左侧"), "right": ("右边", "右侧"), "center": ("中间", "中央")},
    clouds=("云", "白云", "云朵", "几朵白云", "天上有云"),
    style=("插画：", "剪纸风景，", "一幅插画，", "扁平插画，"),
    filler=("美丽", "宁静", "高清", "简约", "治愈", "杰作", "柔和的光线", "唯美"),
    unwanted=("模糊", "低质量", "丑陋", "文字", "水印", "噪点", "变形", "多余的手指"),
    comma=("，", "，", "、", ", "),
)

WORDS: dict[Lang, Words] = {"en": EN, "zh": ZH}

CLASSIFIERS: Phrases = {
    "boat": ("一艘", "一只", "一条"),
    "house": ("一座", "一间", "一栋"),
    "lighthouse": ("一座",),
    "pagoda": ("一座",),
    "balloon": ("一个", "一只"),
}


def _drops(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


# ------------------------------------------------------------------------------------------------------ single parts


def _main_thing(scene: Scene, lang: Lang, rng: random.Random) -> str:
    """ "a red boat" / "一艘红色小船", now and then without its colour; "" where there is none."""
    if scene.kind is None or _drops(rng, 0.04):
        return ""
    words = WORDS[lang]
    noun = rng.choice(words.kind[scene.kind])
    colour = "" if _drops(rng, 0.07) else rng.choice(words.colour[scene.colour])
    if lang == "en":
        return _article(f"{colour} {noun}" if colour else noun)
    classifier = rng.choice(CLASSIFIERS[scene.kind]) if rng.random() < 0.8 else ""
    return classifier + colour + noun


def _side_said(side: Side, default: Side, rng: random.Random) -> bool:
    """Sides that a listener would not assume are nearly always said, the assumed one rarely."""
    return rng.random() < (0.15 if side == default else 0.93)


def _celestial(scene: Scene, lang: Lang, rng: random.Random) -> str:
    """ "a red sun on the left", "右边天空有一轮弯月"; "" where there is none or it is left out."""
    if scene.celestial is None or _drops(rng, 0.1):
        return ""
    side_said = rng.random() < (0.35 if scene.celestial_side == default_celestial_side(scene.side) else 0.9)
    red = scene.celestial_colour == "red"
    if lang == "en":
        noun: str = scene.celestial
        if noun == "sun":
            noun = "red sun" if red else rng.choice(("sun", "yellow sun", "golden sun"))
        elif rng.random() < 0.35:
            noun = "yellow " + noun
        text = _article(noun)
        if not side_said:
            return text
        if scene.celestial_side != "center" and rng.random() < 0.4:
            return f"{text} in the {scene.celestial_side} sky"
        return f"{text} {rng.choice(EN.side[scene.celestial_side])}"
    nouns: Phrases = {
        "sun": ("红色太阳", "红日", "一轮红日") if red else ("太阳", "黄色太阳", "金色的太阳"),
        "full moon": ("满月", "圆月", "一轮圆月", "黄色满月"),
        "crescent moon": ("弯月", "月牙", "一弯新月", "黄色弯月"),
    }
    chinese = rng.choice(nouns[scene.celestial])
    if not side_said:
        return chinese
    return rng.choice(ZH.side[scene.celestial_side]) + rng.choice(("", "有", "天空有", "天上")) + chinese


def _extras(scene: Scene, lang: Lang, rng: random.Random) -> list[str]:
    """Everything but time, ground and main thing, shuffled."""
    words = WORDS[lang]
    parts: list[str] = []
    if scene.mountains is not None and not _drops(rng, 0.12):
        parts.append(rng.choice(words.mountains[scene.mountains]))
    if scene.tree is not None and not _drops(rng, 0.2):
        parts.append(rng.choice(words.tree[scene.tree]))
    if scene.clouds and not _drops(rng, 0.15):
        parts.append(rng.choice(words.clouds))
    parts.append(_celestial(scene, lang, rng))
    if rng.random() < 0.08:
        parts += rng.sample(words.filler, rng.choice((1, 1, 2)))
    rng.shuffle(parts)
    return [part for part in parts if part]


# ---------------------------------------------------------------------------------------------------- whole captions


def _english_place(scene: Scene, thing: str, ground: str, rng: random.Random) -> str:
    """The main thing on its ground."""
    if not thing:
        return ground
    if _side_said(scene.side, "center", rng):
        side = rng.choice(EN.side[scene.side])
        if not ground:
            return f"{thing} {side}"
        forms = [f"{thing} {side}, {ground}", f"{ground}, {thing} {side}", f"{side}, {thing}, {ground}"]
        if scene.side != "center":
            forms += [f"{thing} on the {scene.side} of {ground}"] * 2
        return rng.choice(forms)
    if not ground:
        return thing
    on_water = scene.ground in {"lake", "sea"}
    near = {"boat": ("on", "sailing on", "floating on"), "balloon": ("over", "above", "floating over")}
    preposition = rng.choice(
        near.get(scene.kind or "", ("by", "near", "on") if on_water else ("in", "on", "standing on"))
    )
    return f"{thing} {preposition} {ground}" if rng.random() < 0.85 else f"{ground}, {thing}"


def _chinese_place(scene: Scene, thing: str, ground: str, rng: random.Random) -> str:
    if not thing:
        return ground
    if _side_said(scene.side, "center", rng):
        side = rng.choice(ZH.side[scene.side])
        if not ground:
            return side + "有" + thing
        return rng.choice(
            (
                f"{ground}{side}有{thing}",
                f"{ground}，{side}{rng.choice(('', '有', '是'))}{thing}",
                f"{side}{thing}，{ground}",
            )
        )
    if not ground:
        return thing
    if rng.random() < 0.12:
        return f"{ground}，{thing}"
    if scene.kind == "balloon":
        where = rng.choice(("上空", "上方", "上空飘着"))
    elif scene.kind == "boat":
        where = rng.choice(("上", "上", "上漂着")) if not ground.endswith("面") else rng.choice(("上", "", "上有"))
    else:
        where = rng.choice(("边", "旁", "上")) if scene.ground in {"lake", "sea"} else "上"
    return (
        ground + where + rng.choice(("", "有", "，")) + thing
        if not where.endswith(("着", "有"))
        else ground + where + thing
    )


def _join_time(place: str, time: str, lang: Lang, rng: random.Random) -> str:
    if not place or not time:
        return place or time
    if lang == "en":
        return f"{place} {time}" if rng.random() < 0.7 else f"{time}, {place}"
    if rng.random() < 0.2:
        return f"{place}，{time}"
    link = rng.choice(("", "，", "的")) if time.endswith(("下", "中")) else rng.choice(("的", "，", "，"))
    return time + link + place


def caption(scene: Scene, rng: random.Random, lang: Lang | None = None) -> str:
    """One wording of the scene in ``lang``, or in either language."""
    chosen: Lang = rng.choice(LANGS) if lang is None else lang
    words = WORDS[chosen]
    time = "" if _drops(rng, 0.05) else rng.choice(words.time[scene.time])
    ground = "" if _drops(rng, 0.06) else rng.choice(words.ground[scene.ground])
    thing = _main_thing(scene, chosen, rng)
    place = (_english_place if chosen == "en" else _chinese_place)(scene, thing, ground, rng)
    core = _join_time(place, time, chosen, rng)
    parts = ([core] if core else []) + _extras(scene, chosen, rng)
    if not parts:
        return "a landscape" if chosen == "en" else "风景"
    if rng.random() < 0.08:
        rng.shuffle(parts)
    text = rng.choice(words.comma).join(parts)
    if chosen == "en" and len(parts) == 2 and rng.random() < 0.4:
        text = " with ".join(parts)
    return rng.choice(words.style) + text if rng.random() < 0.2 else text


def long_caption(scene: Scene, rng: random.Random, lang: Lang | None = None) -> str:
    """A wordy caption: the scene said twice, differently, among words that mean nothing here."""
    chosen: Lang = rng.choice(LANGS) if lang is None else lang
    words = WORDS[chosen]
    fillers = rng.sample(words.filler, rng.randint(2, 6))
    return rng.choice(words.comma).join([caption(scene, rng, chosen), *fillers, caption(scene, rng, chosen)])


def unwanted_caption(rng: random.Random) -> str:
    """A short negative prompt, to be trained like an empty one: it says nothing about the picture."""
    words = WORDS[rng.choice(("en", "zh"))]
    return rng.choice(words.comma).join(rng.sample(words.unwanted, rng.randint(1, 4)))
