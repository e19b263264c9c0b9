# The operator's image. Build: docker build -t consumer-autoscaler .
# Where no public base can be pulled: --build-arg BASE_IMAGE=… (any Debian with Python 3.11 or newer, venv and pip).
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
# A numeric user needs a name: libraries ask for it.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin consumer-autoscaler
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/consumer-autoscaler \
 && /opt/consumer-autoscaler/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator ./operator
COPY deploy/image-root.sh ./
# The package is plain Python without a build step: it is copied, and started with -m. Compiled files say by the hash of
# their source what they are of, not by its time, so that the same sources give the same files.
RUN cp -r operator/consumer_autoscaler "$(/opt/consumer-autoscaler/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
 && /opt/consumer-autoscaler/bin/python -m pip uninstall --yes --quiet setuptools pip \
 && ./image-root.sh /opt/consumer-autoscaler /root-of-image \
 && find /root-of-image -name __pycache__ -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /root-of-image /root-of-image

FROM scratch
COPY --from=build /root-of-image /
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["/opt/consumer-autoscaler/bin/python", "-m", "consumer_autoscaler"]
CMD ["run"]
