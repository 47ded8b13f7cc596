"""`python -m gateway` is the command `dask-gateway-server`."""

from gateway.server.cli import main

if __name__ == "__main__":
    main()
