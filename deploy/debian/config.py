# The gateway's configuration. `dask-gateway-server generate-config --output -` prints every option with its help.
c.DaskGateway.backend_class = "gateway.backends.slurm.SlurmBackend"

# Jobs are submitted by dask-gateway-launcherd, as whom /etc/dask-gateway/launcher.conf allows.
c.JobQueueBackend.impersonation = "socket"
