"""Error messages of downloads from a hub; each one tells the user what to do."""

from __future__ import annotations

from pathlib import Path

from zimage_app.domain.errors import FetchError
from zimage_app.domain.fetching import shown_size
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import shown


def fetch_error(en: str, zh: str) -> FetchError:
    """An error with this message."""
    return FetchError(Text(en, zh))


def no_network(host: str, other: Text) -> FetchError:
    """No connection to ``host``; ``other`` suggests another source."""
    return FetchError(
        Text(
            f"{host} cannot be reached: check the network or the proxy, or {other.en}.",
            f"无法连接 {host}：请检查网络或代理，或{other.zh}。",
        ),
        Text(
            f"{host} cannot be reached: check the network or the proxy, or choose another source below.",
            f"无法连接 {host}：请检查网络或代理，或在下方换一个下载来源。",
        ),
    )


def invalid_proxy(variable: str, address: str) -> FetchError:
    """The proxy in ``variable``, or in the system's settings if that is empty, isn't one that can be used."""
    kind, colon, place = address.rpartition("://")
    shown_address = f"{kind}{colon}{place.rpartition('@')[2]}"  # without user and password
    allowed = Text(
        "write an address with http://, https://, socks5:// or socks5h://, as socks5://127.0.0.1:1080",
        "请写成以 http://、https://、socks5:// 或 socks5h:// 开头的地址，如 socks5://127.0.0.1:1080",
    )
    if variable == "NO_PROXY":
        allowed = Text("write names of hosts with commas between them", "请填写以逗号分隔的主机名")
    return fetch_error(
        f"{variable or 'The system proxy'}: {shown_address!r} can't be used; {allowed.en}, or unset it.",
        f"{variable or '系统代理'}：{shown_address!r} 无法使用；{allowed.zh}，或取消该设置。",
    )


def offline(what: str) -> FetchError:
    """``what`` would have to be downloaded, but offline mode is on."""
    return fetch_error(
        f"{what} has to be fetched, and --offline forbids it: start without --offline (or HF_HUB_OFFLINE),"
        " or copy the files here from another machine.",
        f"需要下载 {what}，但已设置离线模式：请去掉 --offline（或 HF_HUB_OFFLINE），或从其他机器复制文件。",
    )


def no_repo(repo: str, host: str) -> FetchError:
    """The repository doesn't exist, or it is private."""
    return fetch_error(
        f"There is no model {repo} at {host}, or it is private: check owner and name,"
        " or set HF_TOKEN to a token that may read it.",
        f"{host} 上没有模型 {repo}，或它是私有的：请检查 owner/name，或设置有权限的 HF_TOKEN。",
    )


def gated(repo: str, url: str) -> FetchError:
    """The repository is gated: its terms must be accepted first."""
    return fetch_error(
        f"{repo} is only for those who have accepted its terms: do so at {url},"
        " then set HF_TOKEN to a token of that account.",
        f"{repo} 需要先同意其使用条款：请在 {url} 同意，然后把 HF_TOKEN 设为该账号的令牌。",
    )


def forbidden(what: str, host: str, status: int) -> FetchError:
    """The host refuses access (status 401 or 403)."""
    return fetch_error(
        f"{host} refuses {what} (status {status}): set HF_TOKEN to a token that may read it, or remove the wrong one.",
        f"{host} 拒绝提供 {what}（状态 {status}）：请设置有权限的 HF_TOKEN，或移除错误的令牌。",
    )


def not_found(what: str, host: str) -> FetchError:
    """The repository doesn't have this file."""
    return fetch_error(
        f"{host} has no {what}: it may have been renamed; look at the repository's page for today's name.",
        f"{host} 上没有 {what}：可能已改名，请在仓库页面查看当前名称。",
    )


def busy(host: str, status: int) -> FetchError:
    """The host keeps answering with a status that means "try again later"."""
    return fetch_error(
        f"{host} answers with status {status} again and again: try later, or from another source or mirror;"
        " what is here already is kept.",
        f"{host} 反复返回状态 {status}：请稍后再试，或换用其他来源、镜像；已下载的部分会保留。",
    )


def unexpected_answer(host: str) -> FetchError:
    """The response isn't one of a model hub."""
    return fetch_error(
        f"{host} does not answer as a model hub does: check the address of the mirror,"
        " and whether a proxy or log-in page stands in between.",
        f"{host} 的应答不像模型站：请检查镜像地址，以及中间是否有代理或登录页面。",
    )


def broken_off(path: str, host: str) -> FetchError:
    """The connection keeps breaking off in every attempt."""
    return fetch_error(
        f"The connection to {host} breaks off again and again ({path}): start it again later,"
        " it goes on where it stopped.",
        f"与 {host} 的连接反复中断（{path}）：请稍后重新开始，会从中断处继续。",
    )


def wrong_bytes(path: str, host: str) -> FetchError:
    """The downloaded file failed its checksum twice."""
    return fetch_error(
        f"{path} from {host} does not have the published checksum, twice over:"
        " try another source or mirror; the wrong file was deleted.",
        f"{host} 提供的 {path} 两次都与公布的校验和不符：请换用其他来源或镜像；错误的文件已删除。",
    )


def disk_full(folder: Path, needed: int | None, free: int) -> FetchError:
    """The disk has less than ``needed`` bytes free; None if the number of bytes needed is unknown."""
    wanted = "" if needed is None else f" {shown_size(needed)} are needed,"
    wanted_zh = "" if needed is None else f"需要 {shown_size(needed)}，"
    return fetch_error(
        f"The disk of {shown(folder)} is too full:{wanted} {shown_size(free)} are free;"
        " make room and start again, what is here already is kept.",
        f"{shown(folder)} 所在磁盘空间不足：{wanted_zh}剩余 {shown_size(free)}；请清理后重新开始，已下载的部分会保留。",
    )


def not_writable(path: Path, reason: str) -> FetchError:
    """The file can't be written."""
    return fetch_error(
        f"{shown(path)} cannot be written ({reason}); give the folder the right permissions, close what has it open"
        ", or choose another folder.",
        f"{shown(path)} 无法写入（{reason}）；请修改文件夹权限、关闭占用该文件的程序，或更换位置。",
    )


def already_downloading(folder: Path) -> FetchError:
    """Another window or program is downloading into this folder."""
    return fetch_error(
        f"{folder.name} is being fetched by another window or program: wait for that one, or stop it.",
        f"{folder.name} 正由另一个窗口或程序下载：请等待其完成，或先停止它。",
    )
