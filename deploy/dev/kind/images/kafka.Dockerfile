# A broker where the public image cannot be pulled: the jars of the test bed, where that image has them.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY libs /opt/kafka/libs
RUN useradd --uid 1000 --no-create-home appuser
USER 1000
