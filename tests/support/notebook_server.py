"""A stand-in for a notebook server, as JupyterHub starts it: it answers, and leaves its environment in a file."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    """Answers everything."""

    def do_GET(self):
        body = b"<title>notebook</title>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    server = HTTPServer((where.hostname, where.port), Handler)
    # Home is a folder of the Hub's directory.
    place = Path.home().parents[1] / f"notebook-{os.environ['JUPYTERHUB_USER']}.json"
    place.with_suffix(".new").write_text(json.dumps(dict(os.environ)))
    place.with_suffix(".new").replace(place)
    server.serve_forever()
