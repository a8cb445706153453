"""The PyWorker: the façade in front of a model server."""
