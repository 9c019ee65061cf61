# In place of nats:2.15-alpine: busybox and the pinned nats-server.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY nats-server docker-entrypoint.sh /usr/local/bin/
ENV PATH=/usr/local/bin:/bin
EXPOSE 4222 8222 6222
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["nats-server", "--config", "/etc/nats/nats-server.conf"]
