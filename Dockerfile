# Targets: cpu (the last, so the usual one) and cuda. See docs/DEPLOYING.md.
FROM python:3.13-slim-trixie AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    ZIMAGE_HOME=/home/zimage/studio \
    ZIMAGE_HOST=0.0.0.0 \
    ZIMAGE_PORT=7860
RUN python -m venv /opt/venv \
    && useradd --create-home --uid 1000 zimage \
    && install -d -o zimage -g zimage /home/zimage/studio
COPY requirements.txt /src/requirements.txt
VOLUME /home/zimage/studio
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["zimage", "app"]

FROM base AS wheel
COPY . /src
RUN pip wheel --no-deps --wheel-dir /wheels /src

# pip's usual build of PyTorch for Linux is the one for CUDA.
FROM base AS cuda
RUN pip install -r /src/requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl
USER 1000
WORKDIR /home/zimage

FROM base AS cpu
# Where PyTorch's CPU build is, as the selector at pytorch.org says; without it the usual build is taken, which is larger.
ARG TORCH_INDEX=""
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' /src/requirements.txt)"; \
    fi \
    && pip install -r /src/requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl
USER 1000
WORKDIR /home/zimage
