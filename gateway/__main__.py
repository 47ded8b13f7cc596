"""`python -m gateway` is the command `dask-gateway-server`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
