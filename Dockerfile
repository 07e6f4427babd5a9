# syntax=docker/dockerfile:1
#
#   docker build -t petalscope . && docker run --gpus all -p 8000:8000 petalscope
#   docker build -t petalscope-cpu --build-arg DEVICE=cpu . && docker run -p 8000:8000 petalscope-cpu
#
# The first stage makes /opt/venv; the last adds app/, model/ and checkpoints/ under /app. With
# PyTorch, the default, it serves on a GPU, and without --gpus on the CPU by OpenVINO as the small
# image does. --read-only works as it is, since nothing but the memory at /dev/shm is written.
# For Prometheus add -e PETALSCOPE_METRICS_PORT=9100 -e PETALSCOPE_METRICS_HOST=0.0.0.0, and do not
# publish that port. To serve another checkpoint add
# -v "$PWD/my.safetensors:/checkpoint.safetensors:ro" -e PETALSCOPE_CHECKPOINT=/checkpoint.safetensors

FROM python:3.11-slim-bookworm AS build

ARG DEVICE=cuda
COPY requirements.txt requirements-cuda.txt /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/venv \
    && case "$DEVICE" in cpu) set=requirements.txt ;; cuda) set=requirements-cuda.txt ;; \
        *) echo "DEVICE is $DEVICE; it must be cpu or cuda." >&2; exit 1 ;; esac \
    && /opt/venv/bin/pip install --requirement "/build/$set"


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="Petalscope" \
      org.opencontainers.image.description="A web service that names the flower in a photo" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"

RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin petalscope

COPY --from=build /opt/venv /opt/venv
WORKDIR /app
# Readable for any user, whatever the umask under which the project was cloned.
COPY --chmod=755 LICENSE NOTICE gunicorn.conf.py wsgi.py ./
COPY --chmod=755 LICENSES ./LICENSES/
COPY --chmod=755 checkpoints ./checkpoints/
COPY --chmod=755 model ./model/
COPY --chmod=755 app ./app/

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/dev/shm \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PETALSCOPE_HOST=0.0.0.0 \
    PETALSCOPE_PORT=8000

# By number, so that Kubernetes' runAsNonRoot can tell.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client and not urllib.request, which would ask the proxy that Docker may pass in.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; service = http.client.HTTPConnection('127.0.0.1', int(os.environ['PETALSCOPE_PORT']), timeout=4); service.request('GET', '/readyz'); sys.exit(service.getresponse().status != 200)"]
CMD ["python", "-m", "gunicorn", "--config", "gunicorn.conf.py"]
