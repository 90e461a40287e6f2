"""OTLP: what speaks OpenTelemetry records without a client of ours. GenAI spans and content events become interactions, which take
the same way as all others (services.logging.recording.ingest).

facts       whose a span is, by whose key, which application; what is refused before anything is stored
values      attribute values as plain values, JSON as it comes
messages    messages and their parts, in the forms in use
indexed     the older form, one attribute for each field of each message
contents    which attributes and events carry content
attributes  log data, and what else a span says
spans       a span as an interaction
events      a content event as an interaction
exporting   an Export: what is stored, what is left aside, what the partial success says
figures     what is counted
"""
