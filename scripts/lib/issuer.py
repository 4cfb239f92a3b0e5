#!/usr/bin/env python3
"""An issuer of Bearer tokens for docker-registry: one user, everything allowed, RS256 signed by openssl.

    issuer.py KEY CERTIFICATE USER PASSWORD    prints its port, then answers until it is killed

GET with Basic credentials, as skopeo, podman and imgpack ask, and POST with a form, as docker does.
"""
import base64
import http.server
import json
import subprocess
import sys
import time
import urllib.parse

KEY, CERTIFICATE, USER, PASSWORD = sys.argv[1:]


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(scopes):
    access = []
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    lines = open(CERTIFICATE).read().splitlines()
    header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(x for x in lines if not x.startswith("-----"))]}
    claims = {"iss": "imgpack-test", "sub": USER, "aud": "imgpack-registry", "jti": str(now), "access": access}
    claims |= {"iat": now, "nbf": now - 60, "exp": now + 300}
    text = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", KEY], input=text, capture_output=True, check=True)
    return (text + b"." + part(signed.stdout)).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def grant(self, known, scopes):
        if not known:
            return self.answer(401, {"details": "incorrect username or password"})
        text = token(scopes)
        self.answer(200, {"token": text, "access_token": text, "expires_in": 300})

    def do_GET(self):
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.grant(self.headers.get("Authorization") == wanted, query.get("scope", []))

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        known = form.get("username") == [USER] and form.get("password") == [PASSWORD]
        self.grant(known, form.get("scope", []))

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
