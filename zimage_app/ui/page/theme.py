"""The Gradio theme: colours, fonts, sizes of single components. The layout is in ``page.css``."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.colors import Color

from zimage_app.ui.page.fonts import FAMILY

_CINNABAR = Color(
    name="cinnabar",
    c50="#fdf4f1",
    c100="#fae4dd",
    c200="#f4c8bb",
    c300="#eaa28e",
    c400="#dd785d",
    c500="#c44d30",
    c600="#b5432a",
    c700="#953522",
    c800="#772c1f",
    c900="#61281e",
    c950="#35120c",
)
_INK = Color(
    name="ink",
    c50="#f8f7f4",
    c100="#f0eeea",
    c200="#e4e1db",
    c300="#cfcbc3",
    c400="#a39e95",
    c500="#6c675f",
    c600="#59554e",
    c700="#3d3a36",
    c800="#282623",
    c900="#1b1a18",
    c950="#121110",
)
_FONTS = (
    FAMILY,
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "sans-serif",
)
_LINE_DARK = "#322f2b"
_EDGE_DARK = "#3a3733"

_SURFACES = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "background_fill_primary": "#ffffff",
    "background_fill_primary_dark": "*neutral_900",
    "background_fill_secondary": "*neutral_100",
    "background_fill_secondary_dark": "*neutral_800",
    "block_background_fill": "#ffffff",
    "block_background_fill_dark": "*neutral_900",
    "block_border_width": "0px",
    "block_border_width_dark": "0px",
    "block_radius": "10px",
    "block_padding": "8px 12px",
    "border_color_primary_dark": _LINE_DARK,
    "layout_gap": "10px",
    "panel_border_width": "0px",
    "loader_color": "*primary_500",
}
_LABELS = {
    "block_title_text_color": "*neutral_600",
    "block_title_text_color_dark": "*neutral_300",
    "block_title_text_size": "12px",
    "block_title_text_weight": "500",
    "block_title_background_fill": "transparent",
    "block_title_background_fill_dark": "transparent",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_text_size": "12px",
    "block_info_text_color": "*neutral_500",
    "block_info_text_color_dark": "*neutral_400",
    "block_info_text_size": "11px",
}
_INPUTS = {
    "input_background_fill": "*neutral_50",
    "input_background_fill_dark": "*neutral_950",
    "input_border_width": "1px",
    "input_border_color": "*neutral_200",
    "input_border_color_dark": _LINE_DARK,
    "input_border_color_focus": "*primary_400",
    "input_border_color_focus_dark": "*primary_600",
    "input_radius": "8px",
    "input_shadow_focus": "0 0 0 3px color-mix(in srgb, var(--color-accent) 18%, transparent)",
    "input_shadow_focus_dark": "0 0 0 3px color-mix(in srgb, var(--color-accent) 30%, transparent)",
    "slider_color": "*primary_500",
    "slider_color_dark": "*primary_500",
}
_BUTTONS = {
    "button_primary_background_fill_dark": "*primary_500",
    "button_primary_background_fill_hover_dark": "*primary_600",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#ffffff",
    "button_primary_border_color": "transparent",
    "button_primary_border_color_dark": "transparent",
    "button_secondary_background_fill": "#ffffff",
    "button_secondary_background_fill_dark": "*neutral_800",
    "button_secondary_background_fill_hover": "*neutral_100",
    "button_secondary_border_color_dark": _EDGE_DARK,
    "button_cancel_background_fill": "transparent",
    "button_cancel_background_fill_dark": "transparent",
    "button_cancel_background_fill_hover": "*primary_50",
    "button_cancel_background_fill_hover_dark": "*primary_950",
    "button_cancel_text_color": "*primary_600",
    "button_cancel_text_color_dark": "*primary_300",
    "button_cancel_border_color": "*primary_300",
    "button_cancel_border_color_dark": "*primary_800",
    "button_border_width": "1px",
    "button_border_width_dark": "1px",
    "button_large_radius": "9px",
    "button_large_padding": "9px 14px",
    "button_large_text_size": "14px",
    "button_small_radius": "8px",
    "button_transition": "background-color .12s ease, border-color .12s ease",
}


def studio_theme() -> gr.themes.Base:
    """Return the page's theme, light and dark; its fonts come with the app or the reader's system."""
    theme = gr.themes.Base(
        primary_hue=_CINNABAR,
        secondary_hue=_CINNABAR,
        neutral_hue=_INK,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        font=_FONTS,
        font_mono=("ui-monospace", "SFMono-Regular", "Consolas", "monospace"),
    )
    return theme.set(**_SURFACES, **_LABELS, **_INPUTS, **_BUTTONS)
