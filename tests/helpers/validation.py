"""Checks values against the generated schemas, as a stranger's validator understands them."""

from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7, DRAFT202012

from gateway.reference.schema import Schema


class Validator:
    """Over the schemas of one document (its `components`), read as the document's own format reads them."""

    def __init__(self, document: dict[str, Any], *, draft7: bool = False) -> None:
        dialect = DRAFT7 if draft7 else DRAFT202012
        self._document = "urn:document"
        self._kind = jsonschema.Draft7Validator if draft7 else Draft202012Validator
        self._registry: Registry[Any] = Registry().with_resource(self._document, dialect.create_resource(document))

    def check(self, value: Any, schema: Schema) -> None:
        """Raise AssertionError, naming the place, for a value that is not what the schema says."""
        reference = {"$ref": f"{self._document}{schema['$ref']}"} if "$ref" in schema else schema
        errors = [
            f"{error.json_path}: {error.message}"
            for error in self._kind(reference, registry=self._registry).iter_errors(value)
        ]
        assert not errors, (value, errors)

    def refuses(self, value: Any, schema: Schema) -> bool:
        """Whether a value is not what the schema says."""
        try:
            self.check(value, schema)
        except AssertionError:
            return True
        return False
