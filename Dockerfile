# syntax=docker/dockerfile:1
# Token refresher as a container: the same run as the function's, once a minute. See docs/how-to/run-as-container.md.
# A release is built from a digest: --build-arg PYTHON=python:3.12-slim@sha256:...
ARG PYTHON=python:3.12-slim

FROM ${PYTHON} AS build
# A mirror of the package index: --build-arg PIP_INDEX_URL=https://mirrors.aliyun.com/pypi/simple
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Nothing comes from the index whose digest is not listed here. Without build isolation, pip fetches no other builder.
COPY requirements.txt ./
COPY requirements/build.txt requirements/daemon.txt requirements/
RUN pip install --require-hashes -r requirements/build.txt && \
    pip wheel --no-deps --no-build-isolation --use-pep517 --wheel-dir wheels --require-hashes -r requirements/daemon.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
# What runs has no pip, so it cannot install anything. It is compiled here, because nothing can be written later.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . && \
    python -m venv --without-pip /opt/token-refresher && \
    pip --python /opt/token-refresher/bin/python install --no-deps --no-index --compile wheels/*.whl

FROM ${PYTHON} AS base
RUN groupadd --system --gid 10001 refresher && \
    useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin refresher
COPY --from=build /opt/token-refresher /opt/token-refresher
ENV PATH=/opt/token-refresher/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /
STOPSIGNAL SIGTERM

# The simulator of the platform, for compose.yaml's profile `demo`: --target simulator
FROM base AS simulator
COPY --from=build /build/src/platform_simulator /opt/simulator/platform_simulator
ENV PYTHONPATH=/opt/simulator
ENTRYPOINT ["python", "-m", "platform_simulator"]

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="token-refresher" \
      org.opencontainers.image.description="Keeps the Yuanzhibang open platform's access_token and js_ticket fresh in Redis" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
EXPOSE 8080
# Without a proxy, whatever the environment says; an answer of 503 is an exception, so exit code 1.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import *; build_opener(ProxyHandler({})).open('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["token-refresher", "daemon", "--listen", "0.0.0.0:8080"]
