# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The page and its jobs over HTTP."""
import ipaddress
import logging
import socket

from srdensenet_mm.errors import UserError, naming
from srdensenet_mm.optional_packages import import_optional

from .jobs import Jobs
from .page import to_html

# Bytes of an uploaded file.
_MAX_UPLOAD = 2**30


def make_app(jobs: Jobs, trusted_hosts: list[str] | None = None):
    """The WSGI application.

    - ``GET /``: the page.
    - ``POST /jobs?name=N&weights=I&scale=S&self_ensemble=0|1`` with a file as
      its body: upscales it; answers ``{"job": key}``. Weights of any upscale
      factor need the scale.
    - ``GET /jobs/KEY``: its state, see :meth:`Job.as_json`.
    - ``GET /jobs/KEY/upscaled.png``, ``.../bicubic.png``: its images;
      ``?download=1`` to save them.
    - ``DELETE /jobs/KEY``: it is not wanted any more.

    A mistake is answered by ``{"error": line}`` and status 400, 404 or 413.

    Args:
        jobs (Jobs): What upscales.
        trusted_hosts (list[str], optional): Names that a request may call this
            host. None takes any.

    Returns:
        flask.Flask: The application.

    Raises:
        UserError: Flask is not installed.
    """
    flask = import_optional('flask')
    app = flask.Flask('srdensenet_mm.app', static_folder=None)
    app.config['MAX_CONTENT_LENGTH'] = _MAX_UPLOAD
    # A page of another host must not read results by giving this one its own name.
    app.config['TRUSTED_HOSTS'] = trusted_hosts

    def find(key: str):
        job = jobs.get(key)
        if job is None:
            flask.abort(404, 'this image is gone, drop it again')
        return job

    @app.errorhandler(UserError)
    def mistake(error):
        return dict(error=' '.join(str(error).split())), 400

    @app.errorhandler(400)
    @app.errorhandler(404)
    @app.errorhandler(405)
    def refused(error):
        return dict(error=error.description), error.code

    @app.errorhandler(413)
    def too_large(error):
        return dict(error=f'the file has more than {_MAX_UPLOAD >> 20} MiB: upscale it with '
                          'srdensenet-mm infer'), 413

    @app.get('/')
    def page():
        return to_html(jobs.titles, jobs.any_scale)

    @app.post('/jobs')
    def add():
        given = flask.request.args
        # The base name alone: browsers send no folders, others might.
        name = given.get('name', '').replace('\\', '/').rpartition('/')[2] or 'image'
        weights = given.get('weights', '0')
        if not weights.isdecimal():
            raise UserError(f'weights={weights!r}: give a number')
        key = jobs.add(name, flask.request.get_data(), int(weights),
                       given.get('scale', type=float), given.get('self_ensemble') == '1')
        return dict(job=key)

    @app.get('/jobs/<key>')
    def state(key):
        return find(key).as_json()

    @app.delete('/jobs/<key>')
    def cancel(key):
        find(key).cancelled.set()
        return {}

    @app.get('/jobs/<key>/<any(bicubic, upscaled):which>.png')
    def image(key, which):
        job = find(key)
        if job.state != 'done':
            flask.abort(404, f'{job.name}: is not upscaled')
        return flask.send_file(
            job.folder / f'{which}.png', as_attachment='download' in flask.request.args,
            download_name=jobs.download_name(job), max_age=0)

    return app


def make_server(jobs: Jobs, host: str = '127.0.0.1', port: int = 7860):
    """A server that listens already; ``serve_forever()`` answers.

    Args:
        jobs (Jobs): What upscales.
        host (str): An address of this machine. Defaults to 127.0.0.1, which
            this machine alone can reach.
        port (int): 0 takes a free one. Defaults to 7860.

    Returns:
        werkzeug.serving.BaseWSGIServer: ``server_address[1]`` is its port.

    Raises:
        UserError: Flask is not installed, or the port cannot be had.
    """
    local = host == 'localhost' or _is_loopback(host)
    app = make_app(jobs, ['localhost', '127.0.0.1', '[::1]', host] if local else None)
    from werkzeug.serving import make_server as listen
    # Its line for each request would bury what the console is for.
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    with naming(f'--host {host} --port {port}', 'cannot listen there, choose another --port, 0 '
                'takes a free one', (OSError, OverflowError)):
        # Werkzeug would print and exit by itself where a port is taken.
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    with listener:  # the server has a duplicate
        return listen(host, port, app, threaded=True, fd=listener.fileno())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
