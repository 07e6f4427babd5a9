# syntax=docker/dockerfile:1
#
# The service as an image; docs/deploying.md has the commands to build and run it.
#
# The build stage installs the pinned packages into /opt/venv. The final stage adds app/, model/ and
# checkpoints/ under /app. The container writes only to /dev/shm, so it runs with --read-only.

# BASE takes a digest too: python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build

# cuda: PyTorch, for a GPU, and OpenVINO, for the CPU if there is none. cpu: OpenVINO only.
ARG DEVICE=cuda
# true: pillow-heif too, for PETALSCOPE_HEIF.
ARG HEIF=false
COPY requirements.txt requirements-cuda.txt requirements-heif.txt /build/
# Without pip in the environment. PyTorch pins setuptools, which only its C++ extensions import.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && case "$DEVICE" in cpu) set=requirements.txt ;; cuda) set=requirements-cuda.txt ;; \
        *) echo "DEVICE is $DEVICE; it must be cpu or cuda." >&2; exit 1 ;; esac \
    && python -m pip --python /opt/venv/bin/python install --requirement "/build/$set" \
    && case "$HEIF" in false) ;; true) python -m pip --python /opt/venv/bin/python install \
        --requirement /build/requirements-heif.txt ;; \
        *) echo "HEIF is $HEIF; it must be true or false." >&2; exit 1 ;; esac \
    && python -m pip --python /opt/venv/bin/python uninstall --yes setuptools


FROM ${BASE}

LABEL org.opencontainers.image.title="Petalscope" \
      org.opencontainers.image.description="A web service that names the flower in a photo" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"

# The service installs nothing: no package installer for an attacker to use, or a scanner to report.
RUN python -m pip uninstall --yes pip setuptools wheel \
    && python -c "import ensurepip, shutil; shutil.rmtree(ensurepip.__path__[0])"

RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin petalscope

COPY --from=build /opt/venv /opt/venv
WORKDIR /app
# Readable by any user, regardless of the umask of the checkout.
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

# A number, because Kubernetes' runAsNonRoot cannot check a name.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client ignores HTTP_PROXY, which Docker may set; urllib.request would use it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; service = http.client.HTTPConnection('127.0.0.1', int(os.environ['PETALSCOPE_PORT']), timeout=4); service.request('GET', '/readyz'); sys.exit(service.getresponse().status != 200)"]
CMD ["python", "-m", "gunicorn", "--config", "gunicorn.conf.py"]
