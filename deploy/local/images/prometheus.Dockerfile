# In place of prom/prometheus: Debian's Prometheus, and a wget for the health check.
FROM debian:trixie-slim
COPY busybox /bin/wget
COPY prometheus /bin/
RUN mkdir -p /prometheus && chown 65534:65534 /prometheus
USER nobody
VOLUME ["/prometheus"]
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
