"""`dask-gateway-server demo`: a gateway, a cluster and a computation on one machine. A program: it may import all."""
