#!/usr/bin/env bash
# Makes a virtual environment, installs the build of PyTorch that fits the card, and starts the page.
#
#   ./run.sh                          once: minutes; later: seconds. The queue goes on where it was.
#   ./run.sh --port 8000              flags are those of app.py
#   ZIMAGE_TORCH=cpu ./run.sh         another build of PyTorch: cuda, rocm, xpu, mps or cpu
#   ZIMAGE_TORCH_INDEX=ADDRESS        where that build is, as the selector at pytorch.org/get-started says; needed once
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '%s\n' "$*" >&2; }

card() {
  if [ "$(uname -s)" = Darwin ]; then
    echo mps
  elif command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    echo cuda
  elif command -v rocminfo >/dev/null && rocminfo >/dev/null 2>&1; then
    echo rocm
  elif command -v xpu-smi >/dev/null && xpu-smi discovery >/dev/null 2>&1; then
    echo xpu
  else
    echo cpu
  fi
}

python_found() {
  local name
  for name in python3.13 python3.12 python3.11 python3 python; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  say "Python 3.11 or newer is needed; install it, then run this again. / 需要 Python 3.11 以上，请先安装。"
  exit 2
}

if [ "$(uname -sm)" = "Darwin x86_64" ]; then
  say "PyTorch no longer supports Macs with an Intel processor; run this on a Mac with Apple silicon, on Linux or on Windows."
  say "PyTorch 已不支持 Intel 芯片的 Mac，请在 Apple 芯片的 Mac、Linux 或 Windows 上运行。"
  exit 2
fi
build="${ZIMAGE_TORCH:-$(card)}"
index="${ZIMAGE_TORCH_INDEX:-}"
installed="$(head -n 1 .venv/installed 2>/dev/null || true)"
if [ -z "$index" ] && [ "${installed%% *}" = "$build" ]; then
  index="${installed#* }" # the one that was given when this build was installed
fi
case "$build" in
  cuda | mps | cpu) ;;
  rocm | xpu)
    if [ -z "$index" ]; then
      say "This card needs PyTorch's $build build. Choose it at https://pytorch.org/get-started/locally/ and run:"
      say "  ZIMAGE_TORCH=$build ZIMAGE_TORCH_INDEX=(the address behind --index-url) ./run.sh"
      say "or, without the card: ZIMAGE_TORCH=cpu ./run.sh"
      say "此显卡需要 PyTorch 的 $build 版，请按上面的方法指定地址；不使用显卡则用 ZIMAGE_TORCH=cpu。"
      exit 2
    fi
    ;;
  *)
    say "ZIMAGE_TORCH=$build is no build of PyTorch; cuda, rocm, xpu, mps and cpu are. / 可选值：cuda、rocm、xpu、mps、cpu。"
    exit 2
    ;;
esac
say "PyTorch for: $build (ZIMAGE_TORCH chooses another) / PyTorch 版本：$build（可用 ZIMAGE_TORCH 更改）"

if [ ! -x .venv/bin/python ]; then
  python="$(python_found)"
  "$python" -m venv .venv
fi
wanted="$build $index
$(cksum <requirements.txt)"
if [ "$(cat .venv/installed 2>/dev/null || true)" != "$wanted" ]; then
  say "Installing; the first time this takes minutes. / 正在安装，首次需要几分钟。"
  if [ -n "$installed" ] && [ "$installed" != "$build $index" ]; then
    .venv/bin/python -m pip uninstall --quiet --yes torch # pip takes any build of the same version for the right one
  fi
  if [ -n "$index" ]; then
    .venv/bin/python -m pip install --quiet --index-url "$index" "$(grep '^torch==' requirements.txt)"
  fi
  .venv/bin/python -m pip install --quiet -r requirements.txt
  printf '%s\n' "$wanted" >.venv/installed
fi
unset ZIMAGE_TORCH ZIMAGE_TORCH_INDEX # no settings of the app
exec .venv/bin/python app.py "$@"
