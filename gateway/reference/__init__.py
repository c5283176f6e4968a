"""The protocol described for machines: AsyncAPI, OpenAPI and TypeScript, generated from the types."""
