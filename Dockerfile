# One file, four images: docker build --build-arg SERVICE=registry -t gyrostat-registry .
FROM python:3.12.11-slim-bookworm AS build
ARG SERVICE
WORKDIR /src
RUN python -m venv /opt/gyrostat
ENV PATH=/opt/gyrostat/bin:$PATH
# The lock first: its layer changes when a version does, not when our code does.
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes -r requirements.lock
COPY protos protos
COPY libs libs
COPY services/${SERVICE} services/${SERVICE}
RUN pip install --no-deps --no-build-isolation ./protos ./libs/common ./libs/client ./libs/front ./services/${SERVICE}

FROM python:3.12.11-slim-bookworm
ARG SERVICE
# LightGBM needs the OpenMP runtime.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 gyrostat && useradd --create-home --uid 10001 --gid 10001 gyrostat \
    && install -d -o 10001 -g 10001 /data
COPY --from=build /opt/gyrostat /opt/gyrostat
ENV PATH=/opt/gyrostat/bin:$PATH PYTHONUNBUFFERED=1 GYROSTAT_DATA__FOLDER=/data SERVICE=${SERVICE}
# By number, so that a cluster can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
CMD ["sh", "-c", "exec python -m gyrostat_$SERVICE"]
