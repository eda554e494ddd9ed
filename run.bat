@echo off
rem Makes a virtual environment, installs the build of PyTorch that fits the card, and starts the page.
rem   run.bat --port 8000            flags are those of app.py
rem   set ZIMAGE_TORCH=cpu           another build of PyTorch: cuda, xpu or cpu
rem   set ZIMAGE_TORCH_INDEX=ADDRESS where that build is, as the selector at pytorch.org/get-started says; needed once
setlocal
cd /d "%~dp0"
chcp 65001 >nul

if not defined ZIMAGE_TORCH (
  set ZIMAGE_TORCH=cpu
  nvidia-smi -L >nul 2>&1 && set ZIMAGE_TORCH=cuda
)
set "installed="
if exist .venv\installed set /p installed=<.venv\installed
rem no address now: the one that was given when this build was installed
if not defined ZIMAGE_TORCH_INDEX for /f "tokens=1* delims=;" %%b in ("%installed%") do (
  if "%%b"=="%ZIMAGE_TORCH%" set "ZIMAGE_TORCH_INDEX=%%c"
)
if "%ZIMAGE_TORCH%"=="cpu" goto chosen
if not "%ZIMAGE_TORCH%"=="cuda" if not "%ZIMAGE_TORCH%"=="xpu" (
  echo ZIMAGE_TORCH=%ZIMAGE_TORCH% is no build of PyTorch for Windows; cuda, xpu and cpu are. / 可选值：cuda、xpu、cpu。
  goto stopped
)
if not defined ZIMAGE_TORCH_INDEX (
  echo This card needs PyTorch's %ZIMAGE_TORCH% build. Choose it at https://pytorch.org/get-started/locally/ and run:
  echo   set ZIMAGE_TORCH_INDEX=the address behind --index-url
  echo   run.bat
  echo Or, without the card: set ZIMAGE_TORCH=cpu
  echo 此显卡需要 PyTorch 的 %ZIMAGE_TORCH% 版，请按上面的方法指定地址；不使用显卡则设 ZIMAGE_TORCH=cpu。
  goto stopped
)

:chosen
echo PyTorch for: %ZIMAGE_TORCH% (ZIMAGE_TORCH chooses another) / PyTorch 版本：%ZIMAGE_TORCH%（可用 ZIMAGE_TORCH 更改）
if not exist .venv\Scripts\python.exe (
  py -3 -m venv .venv 2>nul || python -m venv .venv || (
    echo Python 3.11 or newer is needed; install it, then run this again. 需要 Python 3.11 以上，请先安装。
    goto stopped
  )
)
.venv\Scripts\python -c "import sys; sys.exit(sys.version_info < (3, 11))" || (
  echo The Python in .venv is older than 3.11: install a newer one, delete the folder .venv, then run this again.
  echo .venv 中的 Python 低于 3.11：请安装新版本并删除 .venv 文件夹，再重新运行。
  goto stopped
)
set "wanted=%ZIMAGE_TORCH%;%ZIMAGE_TORCH_INDEX%"
fc requirements.txt .venv\requirements.txt >nul 2>&1 || set "installed="
if not "%installed%"=="%wanted%" (
  echo Installing; the first time this takes minutes. 正在安装，首次需要几分钟。
  rem pip takes any build of the same version for the right one
  if exist .venv\installed .venv\Scripts\python -m pip uninstall --quiet --yes torch
  if defined ZIMAGE_TORCH_INDEX (
    for /f "delims=" %%t in ('findstr /b "torch==" requirements.txt') do (
      .venv\Scripts\python -m pip install --quiet --index-url "%ZIMAGE_TORCH_INDEX%" "%%t" || goto stopped
    )
  )
  .venv\Scripts\python -m pip install --quiet -r requirements.txt || goto stopped
  copy /y requirements.txt .venv\requirements.txt >nul
  >.venv\installed echo %wanted%
)
set "ZIMAGE_TORCH="
set "ZIMAGE_TORCH_INDEX="
.venv\Scripts\python app.py %*
set "code=%errorlevel%"
if "%code%"=="0" exit /b 0
goto paused

:stopped
set "code=2"
:paused
rem a window that was opened by a double click would close before this can be read
pause
exit /b %code%
