# The image of the worker and of the HTTP API. The first stage has pip and the sources; the second one only what runs.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY zeke_queue zeke_queue
COPY zeke_tasks zeke_tasks
COPY zeke_sim zeke_sim
RUN python -m venv /opt/zeke \
    && /opt/zeke/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[tasks,web]"

FROM ${BASE}
COPY --from=build /opt/zeke /opt/zeke
ENV PATH=/opt/zeke/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin zeke
USER zeke
# What `zeke api` listens on.
EXPOSE 3003
# The worker stops claiming at SIGTERM, and gives its jobs 30 seconds to end.
STOPSIGNAL SIGTERM
CMD ["zeke", "worker", "--app", "zeke_tasks.catalog:catalog"]
