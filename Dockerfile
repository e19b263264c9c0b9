# The operator's image. Build: docker build -t consumer-autoscaler .
# Where no public base can be pulled: --build-arg BASE_IMAGE=… (any image with Python 3.11 or newer, venv and pip).
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/consumer-autoscaler \
 && /opt/consumer-autoscaler/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator ./operator
# The package is plain Python without a build step: it is copied, and started with -m.
RUN cp -r operator/consumer_autoscaler "$(/opt/consumer-autoscaler/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
 && /opt/consumer-autoscaler/bin/python -m compileall -q /opt/consumer-autoscaler/lib \
 && /opt/consumer-autoscaler/bin/python -m pip uninstall --yes --quiet pip

FROM ${BASE_IMAGE}
# A numeric user needs a name: libraries ask for it.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin consumer-autoscaler
COPY --from=build /opt/consumer-autoscaler /opt/consumer-autoscaler
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["/opt/consumer-autoscaler/bin/python", "-m", "consumer_autoscaler"]
CMD ["run"]
