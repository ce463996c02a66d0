# nafp on CPUs: adds, identifies and serves with numpy alone, without JAX. Dockerfile.cuda trains, too.
#   docker build -t nafp .
#   docker run --rm -v "$PWD:/data" --user "$(id -u)" nafp add DB music/
#   docker run --rm -v "$PWD/DB:/data/DB:ro" -p 127.0.0.1:8765:8765 nafp
#   docker build --target check .                                all checks of CI
# The lines of pip are those that .ci/smoke runs in an empty environment.
FROM python:3.12-slim AS python
# Debian keeps one version of a package at a time, so that a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*

FROM python AS check
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /nafp
COPY . .
RUN make install EXTRAS=cpu,onnx,serve,test && .ci/run

FROM python AS built
WORKDIR /source
COPY requirements-serve.txt .
RUN python -m venv /opt/nafp && /opt/nafp/bin/pip install --no-cache-dir --requirement requirements-serve.txt
COPY . .
RUN /opt/nafp/bin/pip install --no-cache-dir --no-deps .

FROM python AS nafp
COPY --from=built /opt/nafp /opt/nafp
# Nothing that the image runs may change it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin nafp
USER 10001
ENV PATH=/opt/nafp/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/v1/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["nafp"]
CMD ["serve", "DB", "--host=0.0.0.0"]
