# The service as an image; docs/deploying.md has the commands to build and run it. With BULK=true, it
# also runs bulk jobs (docs/scaling.md).
#
# `build` installs the pinned packages into /opt/venv and collects the service's files in /app.
# `system` is the base image without package installers. The image is a copy of both in an empty
# one, so that removed files take no space. The container writes only to /dev/shm, so it runs with
# --read-only.

# BASE takes a digest too: python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm
# cuda: PyTorch, for a GPU, and OpenVINO, for the CPU if there is none. cpu: OpenVINO only.
ARG DEVICE=cuda


FROM ${BASE} AS build
ARG DEVICE
# true: pillow-heif too, for PETALSCOPE_HEIF.
ARG HEIF=false
# true: scripts/classify_many.py and its packages too.
ARG BULK=false
COPY requirements.txt requirements-bulk.txt requirements-cuda.txt requirements-heif.txt /build/
# --no-deps, because the files pin every package. PyTorch pins setuptools, which only its C++
# extensions import. NumPy's tests take 20 MB. Of OpenVINO, only ONNX files on a CPU are used; of
# pyarrow, only Parquet files.
RUN cd /build \
    && case "$DEVICE" in cpu) set=requirements.txt ;; cuda) set=requirements-cuda.txt ;; \
        *) echo "DEVICE is $DEVICE; it must be cpu or cuda." >&2; exit 1 ;; esac \
    && case "$HEIF" in false) heif= ;; true) heif="--requirement requirements-heif.txt" ;; \
        *) echo "HEIF is $HEIF; it must be true or false." >&2; exit 1 ;; esac \
    && case "$BULK" in false) bulk= ;; true) bulk="--requirement requirements-bulk.txt" ;; \
        *) echo "BULK is $BULK; it must be true or false." >&2; exit 1 ;; esac \
    && python -m venv --without-pip /opt/venv \
    && pip="python -m pip --python /opt/venv/bin/python --no-cache-dir" \
    && $pip install --no-deps --requirement "$set" $heif $bulk \
    && $pip check \
    && $pip uninstall --yes setuptools \
    && cd /opt/venv/lib/python3.*/site-packages \
    && find numpy -type d -name tests -prune -exec rm -r {} + \
    && rm -rf pyarrow/include pyarrow/tests pyarrow/*_flight*.so* pyarrow/*_s3*.so* \
    && cd openvino \
    && rm -rf cmake include libs/cache.json libs/libopenvino_intel_[gn]pu_plugin.so \
    && find libs -name 'libopenvino_*_frontend.so*' \
        ! -name '*_onnx_*' ! -name '*_ir_*' -exec rm {} +
COPY LICENSE NOTICE gunicorn.conf.py wsgi.py /app/
COPY LICENSES /app/LICENSES/
COPY checkpoints /app/checkpoints/
COPY model /app/model/
COPY app /app/app/
COPY scripts/__init__.py scripts/classify_many.py scripts/command_line.py /app/scripts/
# Readable by any user, regardless of the umask of the checkout. Only PyTorch runs .safetensors.
RUN chmod -R u=rwX,go=rX /app \
    && if [ "$DEVICE" = cpu ]; then rm /app/checkpoints/*.safetensors; fi \
    && if [ "$BULK" = false ]; then rm -r /app/scripts; fi


FROM ${BASE} AS system
# The service installs nothing: no package installer for an attacker to use, or a scanner to report.
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip \
        /usr/local/bin/pip* /usr/local/bin/wheel \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin petalscope


FROM scratch AS service
LABEL org.opencontainers.image.title="Petalscope" \
      org.opencontainers.image.description="A web service that names the flower in a photo" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"
COPY --from=system / /
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app

ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/dev/shm \
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


FROM service AS device-cpu


FROM service AS device-cuda
# The version of cuda-toolkit in requirements-cuda.txt. With an older driver, the container does not
# start, and the engine names the cause.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA="cuda>=13.0"


FROM device-${DEVICE}
