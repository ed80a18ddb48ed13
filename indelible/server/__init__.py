"""The service: logs of many customers over HTTP, in one store, with what says who may use it beside them."""
