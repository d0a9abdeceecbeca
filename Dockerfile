# The demo, examples/replicas, as an image of one static program.

FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/replicas ./examples/replicas

FROM scratch
# For a bus that speaks TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/replicas /replicas
USER 65534:65534
EXPOSE 8080
ENTRYPOINT ["/replicas"]
CMD ["-listen", ":8080"]
