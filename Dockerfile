# nafp in an image. Its commands are those that people and CI run: `make install`, and .ci/run in the stage `check`.
#   docker build -t nafp .                                       for CPUs
#   docker build -t nafp --build-arg EXTRAS=cuda12 .             for NVIDIA GPUs; run it with --gpus all
#   docker build --target check .                                all checks of CI
#   docker run --rm -v "$PWD:/data" --user "$(id -u)" nafp add DB music/
FROM python:3.12-slim AS source
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /nafp
COPY . .

FROM source AS check
RUN make install EXTRAS=cpu,onnx,serve,test && .ci/run

FROM source AS nafp
ARG EXTRAS=cpu
RUN make install EXTRAS=$EXTRAS && rm -rf .git
# Compiled programs are kept here; mount a folder to keep them longer than a container.
ENV PATH=/nafp/.venv/bin:$PATH NAFP_CACHE=/tmp/nafp
WORKDIR /data
ENTRYPOINT ["nafp"]
CMD ["--help"]
