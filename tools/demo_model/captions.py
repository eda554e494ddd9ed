"""Captions for scenes, in Chinese and English, with varied wording and as incomplete as real prompts.

:func:`caption` omits things at random, because a prompt rarely describes everything, and sometimes adds words without
meaning here, so that unknown words do no harm. What a caption says is always true of the scene.
"""

import random
from dataclasses import dataclass
from typing import Literal

from tools.demo_model.scene import Scene, Side, default_celestial_side, default_tree_side

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
    birds: tuple[str, ...]
    many_stars: tuple[str, ...]
    some_stars: tuple[str, ...]
    reflection: tuple[str, ...]
    """Reflection of the main object, the sun or the moon in the lake."""
    absent: Phrases
    """Absence of a thing."""
    style: tuple[str, ...]
    """Openings that name the kind of picture."""
    filler: tuple[str, ...]
    """Words without information about the scene."""
    unwanted: tuple[str, ...]
    """Typical words of negative prompts."""
    comma: tuple[str, ...]


EN = Words(
    time={
        "dawn": ("at dawn", "at sunrise", "in the early morning", "at daybreak"),
        "day": ("at noon", "on a clear day", "in daylight", "on a sunny day", "by day"),
        "sunset": ("at sunset", "at dusk", "in the evening", "in the evening glow"),
        "night": ("at night", "by night", "in the night"),
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
            "a grassy plain",
            "a green plain",
        ),
        "snow": (
            "a snowy field",
            "a snow-covered land",
            "a winter landscape",
            "the snow",
            "a snowfield",
            "a snowy plain",
        ),
    },
    kind={
        "boat": ("boat", "sailboat", "sailing boat", "little boat"),
        "house": ("house", "cottage", "small house", "little house", "cabin"),
        "lighthouse": ("lighthouse", "lighthouse", "tall lighthouse"),
        "pagoda": ("pagoda", "pagoda", "temple", "tall pagoda"),
        "balloon": ("hot air balloon", "hot air balloon", "balloon", "hot-air balloon"),
        "bridge": ("bridge", "bridge", "arched bridge", "stone bridge"),
    },
    colour={"red": ("red",), "yellow": ("yellow",), "blue": ("blue",), "white": ("white",)},
    mountains={
        "snowy": ("snowy mountains", "snow-capped mountains", "snowy peaks", "distant snowy mountains"),
        "green": ("green mountains", "green hills", "distant green mountains", "mountains"),
        "purple": ("purple mountains", "purple hills", "violet mountains", "distant purple mountains"),
    },
    tree={
        "pine": ("pine tree", "pine", "pine tree"),
        "cherry": ("cherry tree", "blossoming cherry tree", "sakura tree"),
        "palm": ("palm tree", "palm", "coconut palm"),
        "maple": ("maple tree", "autumn tree", "maple", "red maple"),
    },
    side={
        "left": ("on the left", "on the left side", "to the left"),
        "right": ("on the right", "on the right side", "to the right"),
        "center": ("in the middle", "in the center"),
    },
    clouds=("clouds", "white clouds", "some clouds", "a few clouds", "a cloudy sky"),
    birds=("birds", "flying birds", "a flock of birds", "birds in the sky", "a few birds"),
    many_stars=("many stars", "a sky full of stars", "a starry sky", "countless stars"),
    some_stars=("stars", "a few stars", "some stars"),
    reflection=("a reflection in the water", "reflected in the water", "reflections", "reflection on the lake"),
    absent={
        "clouds": ("no clouds", "without clouds", "a cloudless sky"),
        "birds": ("no birds", "without birds"),
        "tree": ("no trees", "without trees"),
        "mountains": ("no mountains", "without mountains"),
        "stars": ("no stars", "without stars", "a starless sky"),
        "sun": ("no sun", "without a sun"),
        "moon": ("no moon", "without a moon", "a moonless night"),
        "kind": ("nothing else", "an empty landscape"),
    },
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
        "night": ("夜晚", "深夜", "夜里", "夜色中", "晚上"),
    },
    ground={
        "lake": ("平静的湖面", "湖", "宁静的湖泊", "湖面", "湖水"),
        "sea": ("大海", "海浪", "蓝色的海", "海面", "海"),
        "desert": ("沙漠", "金色的沙丘", "沙丘", "大漠", "金黄的沙漠"),
        "meadow": ("绿色的草地", "草原", "开满鲜花的草地", "草地", "绿草地", "平原", "绿色的平原"),
        "snow": ("雪地", "冬天的雪原", "白雪覆盖的大地", "雪原", "白茫茫的雪地"),
    },
    kind={
        "boat": ("小船", "帆船", "船", "小帆船"),
        "house": ("房子", "小屋", "小房子", "木屋"),
        "lighthouse": ("灯塔", "灯塔", "高高的灯塔"),
        "pagoda": ("宝塔", "塔", "寺庙", "古塔"),
        "balloon": ("热气球", "热气球", "大热气球"),
        "bridge": ("桥", "石桥", "拱桥", "小桥"),
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
        "purple": ("紫色的山", "紫山", "远处紫色的山", "紫色山峰"),
    },
    tree={
        "pine": ("松树", "松树", "青松"),
        "cherry": ("樱花树", "樱花", "樱树"),
        "palm": ("棕榈树", "椰子树", "椰树"),
        "maple": ("枫树", "红枫", "秋天的树", "秋树"),
    },
    side={"left": ("左边", "左侧"), "right": ("右边", "右侧"), "center": ("中间", "中央")},
    clouds=("云", "白云", "云朵", "几朵白云", "天上有云"),
    birds=("鸟", "飞鸟", "小鸟", "一群鸟", "天上有鸟", "几只飞鸟"),
    many_stars=("满天繁星", "繁星", "许多星星", "星空"),
    some_stars=("星星", "几颗星星", "有星星"),
    reflection=("水中倒影", "倒影", "湖面上的倒影", "水里有倒影"),
    absent={
        "clouds": ("没有云", "无云", "万里无云"),
        "birds": ("没有鸟", "无鸟"),
        "tree": ("没有树", "无树"),
        "mountains": ("没有山", "无山"),
        "stars": ("没有星星", "无星"),
        "sun": ("没有太阳", "无太阳"),
        "moon": ("没有月亮", "无月", "无月之夜"),
        "kind": ("空无一物", "什么都没有"),
    },
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
    "bridge": ("一座", "一座"),
}
PLURAL_TREES: Phrases = {
    "pine": ("pine trees", "pines"),
    "cherry": ("cherry trees", "cherry blossoms", "sakura"),
    "palm": ("palm trees", "palms"),
    "maple": ("maple trees", "autumn trees", "maples", "red maples"),
}
ENGLISH_COUNTS: dict[int, tuple[str, ...]] = {
    2: ("two ", "two ", "a couple of ", ""),
    3: ("three ", "three ", "several "),
}
"""A plural without a number means two trees."""
CHINESE_COUNTS: dict[int, tuple[str, ...]] = {
    1: ("一棵", "一棵", "一株"),
    2: ("两棵", "两棵", "两株", ""),
    3: ("三棵", "三棵", "几棵"),
}


def _drops(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


# ------------------------------------------------------------------------------------------------------ single parts


def _main_thing(scene: Scene, lang: Lang, rng: random.Random) -> str:
    """Return "a red boat" / "一艘红色小船", sometimes without colour; "" if there is none or it is omitted."""
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
    """Decide whether to mention a side: nearly always if it isn't the default, rarely if it is."""
    return rng.random() < (0.15 if side == default else 0.93)


SUNS: dict[Lang, Phrases] = {
    "en": {"red": ("red sun", "red sun", "crimson sun"), "yellow": ("sun", "yellow sun", "golden sun")},
    "zh": {"red": ("红色太阳", "红日", "一轮红日", "红太阳"), "yellow": ("太阳", "黄色太阳", "金色的太阳")},
}
MOONS: dict[Lang, Phrases] = {
    "en": {"full moon": ("full moon", "full moon", "round moon"), "crescent moon": ("crescent moon", "crescent")},
    "zh": {"full moon": ("满月", "圆月", "一轮圆月"), "crescent moon": ("弯月", "月牙", "一弯新月")},
}


def _celestial_noun(scene: Scene, lang: Lang, rng: random.Random) -> str:
    if scene.celestial in (None, "sun"):
        return rng.choice(SUNS[lang][scene.celestial_colour])
    noun = rng.choice(MOONS[lang][scene.celestial])
    white = scene.celestial_colour == "white"
    if not _drops(rng, 0.1 if white else 0.7):
        if lang == "en":
            return ("white " if white else "yellow ") + noun
        return ("白色的" if white else rng.choice(("黄色的", "黄色"))) + noun.removeprefix("一轮").removeprefix("一弯")
    return noun


def _celestial(scene: Scene, lang: Lang, rng: random.Random) -> str:
    """Return "a red sun on the left", "右边天空有一轮弯月"; "" if there is none or it is omitted."""
    if scene.celestial is None or _drops(rng, 0.08):
        return ""
    noun = _celestial_noun(scene, lang, rng)
    side_said = rng.random() < (0.35 if scene.celestial_side == default_celestial_side(scene.side) else 0.92)
    if lang == "zh":
        if not side_said:
            return noun
        return rng.choice(ZH.side[scene.celestial_side]) + rng.choice(("", "有", "天空有", "天上")) + noun
    if not side_said:
        return _article(noun)
    if scene.celestial_side != "center" and rng.random() < 0.4:
        return f"{_article(noun)} in the {scene.celestial_side} sky"
    return f"{_article(noun)} {rng.choice(EN.side[scene.celestial_side])}"


def _trees(scene: Scene, lang: Lang, rng: random.Random) -> str:
    """Return "two pine trees on the right", "右边有两棵松树"; "" if there are none or they are omitted."""
    if scene.tree is None or _drops(rng, 0.12):
        return ""
    side_said = rng.random() < (0.3 if scene.tree_side == default_tree_side(scene.side) else 0.92)
    side = rng.choice(WORDS[lang].side[scene.tree_side]) if side_said else ""
    if lang == "zh":
        trees = rng.choice(CHINESE_COUNTS[scene.tree_count]) + rng.choice(ZH.tree[scene.tree])
        return side + rng.choice(("", "有")) + trees if side else trees
    if scene.tree_count == 1:
        trees = _article(rng.choice(EN.tree[scene.tree]))
    else:
        trees = rng.choice(ENGLISH_COUNTS[scene.tree_count]) + rng.choice(PLURAL_TREES[scene.tree])
    return f"{trees} {side}" if side else trees


def _absences(scene: Scene, rng: random.Random, words: Words) -> list[str]:
    """Return a phrase for one absent thing in an eighth of the cases, otherwise nothing."""
    if not _drops(rng, 0.12):
        return []
    names = ["clouds"] * (not scene.clouds) + ["birds"] * (not scene.birds) + ["tree"] * (scene.tree is None)
    names += ["mountains"] * (scene.mountains is None)
    if scene.celestial is None:
        names.append("moon" if scene.time == "night" else "sun")
    return [rng.choice(words.absent[rng.choice(names)])] if names else []


def _stars(scene: Scene, rng: random.Random, words: Words) -> str:
    if scene.stars == "many":
        return "" if _drops(rng, 0.12) else rng.choice(words.many_stars)
    if scene.time == "night" and scene.stars == "none":
        return "" if _drops(rng, 0.3) else rng.choice(words.absent["stars"])
    return rng.choice(words.some_stars) if scene.stars == "some" and _drops(rng, 0.2) else ""


def _extras(scene: Scene, lang: Lang, rng: random.Random) -> list[str]:
    """Return the phrases for everything except time, ground and main object, shuffled."""
    words = WORDS[lang]
    parts = [_celestial(scene, lang, rng), _trees(scene, lang, rng), _stars(scene, rng, words)]
    if scene.mountains is not None and not _drops(rng, 0.1):
        parts.append(rng.choice(words.mountains[scene.mountains]))
    if scene.clouds and not _drops(rng, 0.12):
        parts.append(rng.choice(words.clouds))
    if scene.birds and not _drops(rng, 0.12):
        parts.append(rng.choice(words.birds))
    if scene.ground == "lake" and scene.kind not in {None, "balloon"} and _drops(rng, 0.2):
        parts.append(rng.choice(words.reflection))
    parts += _absences(scene, rng, words)
    if rng.random() < 0.08:
        parts += rng.sample(words.filler, rng.choice((1, 1, 2)))
    rng.shuffle(parts)
    return [part for part in parts if part]


# ---------------------------------------------------------------------------------------------------- whole captions


def _english_place(scene: Scene, thing: str, ground: str, rng: random.Random) -> str:
    """Return the main object on its ground."""
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
    near = {
        "bridge": ("over", "across", "on"),
        "boat": ("on", "sailing on", "floating on"),
        "balloon": ("over", "above", "floating over"),
    }
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
    elif scene.kind == "bridge":
        where = "上"
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
    """Return a random caption of the scene in ``lang``, or in a random language."""
    chosen: Lang = rng.choice(LANGS) if lang is None else lang
    words = WORDS[chosen]
    if _drops(rng, 0.08):
        return fragment(scene, rng, chosen)
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


def fragment(scene: Scene, rng: random.Random, lang: Lang) -> str:
    """Return one or two of the scene's attributes alone, as in negative and very short prompts."""
    words = WORDS[lang]
    thing = _main_thing(scene, lang, rng) if scene.side == "center" else ""
    parts = [thing, rng.choice(words.time[scene.time]), rng.choice(words.ground[scene.ground])]
    parts += _extras(scene, lang, rng) * 2
    parts = [part for part in parts if part]
    return rng.choice(words.comma).join(rng.sample(parts, rng.choice((1, 1, 2))))


BEFORE: dict[Lang, tuple[str, ...]] = {
    "en": ("I want ", "please make me ", "show me ", "imagine ", "there is ", "I saw ", "paint this for me: "),
    "zh": ("请给我看", "我想要", "画一张", "画面里是", "我看到了", "想象一下，", "麻烦画：", "这里有"),
}
BEHIND: dict[Lang, tuple[str, ...]] = {
    "en": (", please", ", thank you", ", as a gift for my mother", ". That is all", "!", "."),
    "zh": ("，谢谢", "，拜托了", "，送给妈妈的", "，就这样", "！", "。"),
}


def chatty_caption(scene: Scene, rng: random.Random, lang: Lang | None = None) -> str:
    """Return a caption inside a polite or conversational request."""
    chosen: Lang = rng.choice(LANGS) if lang is None else lang
    before = rng.choice(BEFORE[chosen]) if rng.random() < 0.8 else ""
    return before + caption(scene, rng, chosen) + (rng.choice(BEHIND[chosen]) if rng.random() < 0.5 else "")


def listed_caption(scene: Scene, rng: random.Random, lang: Lang | None = None) -> str:
    """Return the attributes as a list of "name: value", in random order."""
    chosen: Lang = rng.choice(LANGS) if lang is None else lang
    words, english = WORDS[chosen], chosen == "en"
    rows = [
        ("when" if english else "时刻", rng.choice(words.time[scene.time])),
        ("where" if english else "场景", rng.choice(words.ground[scene.ground])),
    ]
    thing = _main_thing(scene, chosen, rng)
    if thing:
        side = rng.choice(words.side[scene.side])
        placed = f"{thing} {side}" if english else rng.choice((f"{side}的{thing}", f"{thing}，{side}"))
        rows.append(("subject" if english else "主体", placed))
    rng.shuffle(rows)
    colon, stop = (": ", "; ") if english else ("：", "；")
    parts = [name + colon + value for name, value in rows] + _extras(scene, chosen, rng)
    return stop.join(parts)


def long_caption(scene: Scene, rng: random.Random, lang: Lang | None = None) -> str:
    """Return a long caption: two different captions of the scene with filler words between them."""
    chosen: Lang = rng.choice(LANGS) if lang is None else lang
    words = WORDS[chosen]
    fillers = rng.sample(words.filler, rng.randint(2, 6))
    return rng.choice(words.comma).join([caption(scene, rng, chosen), *fillers, caption(scene, rng, chosen)])


def unwanted_caption(rng: random.Random) -> str:
    """Return a short negative prompt without information about the picture, trained like an empty caption."""
    words = WORDS[rng.choice(("en", "zh"))]
    return rng.choice(words.comma).join(rng.sample(words.unwanted, rng.randint(1, 4)))
