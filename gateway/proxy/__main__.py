"""The proxy alone, with fixed routes: for benchmarks and debugging.

    python -m gateway.proxy --address 127.0.0.1:8000 --route abc=127.0.0.1:8786

Connections for `daskgateway-abc` are relayed to that address. HTTP is answered
with the dashboard of `--dashboard abc=127.0.0.1:8787`, where one is given.
Ends at SIGINT or SIGTERM; both are heard also where a script started it in
the background, which makes a shell ignore SIGINT for it.
"""

import signal
from functools import partial

import click
import trio

from gateway.config.proxy import Proxy
from gateway.errors import StartError
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.listeners import open_listeners
from gateway.proxy.routes import Routes
from gateway.proxy.serving import serve_public
from gateway.proxy.sockets import raise_file_limit
from gateway.web.server import HttpServer


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(word.partition("=")[::2] for word in words)
    if not all(pairs.values()):
        raise click.UsageError("a route is written NAME=HOST:PORT")
    return pairs


@click.command(help=__doc__.splitlines()[0])
@click.option("--address", default="127.0.0.1:8000", help="Where to listen: host:port, :port, unix:/path, fd://N.")
@click.option("--route", "schedulers", multiple=True, metavar="NAME=HOST:PORT", help="A cluster's scheduler.")
@click.option("--dashboard", "dashboards", multiple=True, metavar="NAME=HOST:PORT", help="A cluster's dashboard.")
@click.option("--max-per-address", default=Proxy().max_connections_per_address, help="Connections of a client.")
def main(address: str, schedulers: tuple[str, ...], dashboards: tuple[str, ...], max_per_address: int) -> None:
    """Serve until interrupted."""
    routes = Routes()
    pages, targets = _pairs(dashboards), _pairs(schedulers)
    if alone := pages.keys() - targets.keys():
        raise click.UsageError(f"a dashboard needs a route of the same name: {', '.join(sorted(alone))}")
    for name, target in targets.items():
        page = pages.get(name)
        try:
            routes.add(name, f"tls://{target}", f"http://{page}" if page else "")
        except ValueError as error:
            raise click.UsageError(f"the route of {name} cannot be used: {error}") from error
    raise_file_limit()
    options = Proxy(max_connections=2 * max_per_address, max_connections_per_address=max_per_address)
    try:
        trio.run(_serve, address, routes, options)
    except StartError as error:
        raise click.ClickException(str(error)) from error


async def _serve(address: str, routes: Routes, options: Proxy) -> None:
    server = HttpServer(
        Dashboard(routes, options=options),
        head_timeout=options.head_timeout,
        websocket_message_size=options.websocket_message_size,
    )
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        listeners = await open_listeners(address)
        for listener in listeners:
            print("listening at", listener.getsockname(), flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(serve_public, listeners, routes=routes, serve_http=server.serve, options=options)
            )
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()
    print("stopped")


if __name__ == "__main__":
    main()
