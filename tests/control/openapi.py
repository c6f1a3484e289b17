#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds docs/openapi.yaml to the code, both ways.

    openapi.py ROUTES [ANSWER ...]

ROUTES is what `serve --routes` prints; each ANSWER a file "METHOD PATH" on its first line and the JSON
that came on the others. Prints what differs; status 1 if anything does.
"""
import json
import re
import sys

import yaml

METHODS = {"get", "put", "post", "patch", "delete"}
TYPES = {"integer": int, "boolean": bool, "string": str, "object": dict, "array": list}


class Spec:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            self.root = yaml.safe_load(f)
        self.faults = []
        self.used = set()  # schemas that some route leads to
        self.seen = set()  # members that some answer had

    def fault(self, text):
        if text not in self.faults:
            self.faults.append(text)

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            where = node["$ref"]
            self.used.add(where)
            node = self.root
            for part in where[2:].split("/"):
                node = node[part]
        return node

    def operations(self):
        for path, item in self.root["paths"].items():
            for method, op in item.items():
                if method in METHODS:
                    shared = item.get("parameters", [])
                    yield f"{method.upper()} {path}", op, shared + op.get("parameters", [])

    def fields(self, kind, schema, required, prefix):
        """One line per field, as the code prints them."""
        schema = self.resolve(schema)
        for name, child in schema.get("properties", {}).items():
            child = self.resolve(child)
            need = "required" if name in schema.get("required", []) else "optional"
            yield f"{kind} {prefix}{name} {child['type']} {need}"
            yield from self.fields(kind, child, required, f"{prefix}{name}.")

    def inputs(self, op, parameters):
        lines = []
        for p in map(self.resolve, parameters):
            if p["in"] == "query":
                need = "required" if p.get("required") else "optional"
                lines.append(f"query {p['name']} {p['schema']['type']} {need}")
        body = self.resolve(op.get("requestBody"))
        if body:
            lines += self.fields("body", body["content"]["application/json"]["schema"], True, "")
        return lines

    def holes(self, where, parameters):
        """{id} in the path is a parameter, and the other way round."""
        named = {p["name"] for p in map(self.resolve, parameters) if p["in"] == "path"}
        if named != set(re.findall(r"{(\w+)}", where)):
            self.fault(f"{where}: parameters of the path are {sorted(named)}")

    def check_value(self, schema, value, where):
        schema = self.resolve(schema)
        if value is None:
            if not schema.get("nullable"):
                self.fault(f"{where}: null")
            return
        kind = TYPES[schema["type"]]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fault(f"{where}: {value!r} is no {schema['type']}")
        elif "enum" in schema and value not in schema["enum"]:
            self.fault(f"{where}: {value!r} is not one of {schema['enum']}")
        elif kind is list:
            for one in value:
                self.check_value(schema["items"], one, where + "[]")
        elif kind is dict:
            self.check_object(schema, value, where)

    def check_object(self, schema, value, where):
        known = schema.get("properties", {})
        for name, child in value.items():
            if name not in known:
                self.fault(f"{where}.{name}: in an answer, and not described")
                continue
            self.seen.add(id(known[name]))
            self.check_value(known[name], child, f"{where}.{name}")
        for name in schema.get("required", []):
            if name not in value:
                self.fault(f"{where}.{name}: required, and not in an answer")

    def check_answer(self, route, value):
        for where, op, _ in self.operations():
            if where == route:
                content = self.resolve(op["responses"]["200"])["content"]
                self.check_value(content["application/json"]["schema"], value, route)
                return
        self.fault(f"{route}: answers, and is not described")

    def walk(self, schema, where):
        """Members of described answers that no answer had."""
        schema = self.resolve(schema)
        for name, child in schema.get("properties", {}).items():
            if id(child) not in self.seen:
                self.fault(f"{where}.{name}: described, and in no answer")
            self.walk(child, f"{where}.{name}")
        if "items" in schema:
            self.walk(schema["items"], where + "[]")


def read_routes(path):
    routes = {}
    with open(path, encoding="utf-8") as f:
        for line in f.read().splitlines():
            if line.startswith("\t"):
                routes[last].append(line.strip())
            else:
                last = line
                routes[last] = []
    return routes


def compare_routes(spec, routes):
    described = {}
    for where, op, parameters in spec.operations():
        described[where] = spec.inputs(op, parameters)
        spec.holes(where, parameters)
    for where in routes.keys() - described.keys():
        spec.fault(f"{where}: not described")
    for where in described.keys() - routes.keys():
        spec.fault(f"{where}: described, and no route")
    for where in described.keys() & routes.keys():
        for line in set(routes[where]) - set(described[where]):
            spec.fault(f"{where}: {line}: not described")
        for line in set(described[where]) - set(routes[where]):
            spec.fault(f"{where}: {line}: described, and not in the code")


def compare_answers(spec, paths):
    answered = set()
    for path in paths:
        with open(path, encoding="utf-8") as f:
            route = f.readline().strip()
            spec.check_answer(route, json.load(f))
            answered.add(route)
    for where, op, _ in spec.operations():
        for status, response in op["responses"].items():
            content = spec.resolve(response).get("content", {}).get("application/json")
            if status == "200" and content and where not in answered:
                spec.fault(f"{where}: no answer was looked at")
            if status == "200" and content:
                spec.walk(content["schema"], where)


def main():
    spec = Spec("docs/openapi.yaml")
    compare_routes(spec, read_routes(sys.argv[1]))
    compare_answers(spec, sys.argv[2:])
    for kind, parts in spec.root["components"].items():
        for name in parts:
            where = f"#/components/{kind}/{name}"
            if where not in spec.used and where != "#/components/schemas/Error":
                spec.fault(f"{where}: nothing leads there")
    print("\n".join(spec.faults), end="\n" if spec.faults else "")
    return 1 if spec.faults else 0


if __name__ == "__main__":
    sys.exit(main())
