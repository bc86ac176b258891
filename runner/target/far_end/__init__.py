"""The far end of a data link: what devices talk to over it, a process of its own that ends with its coordinator.

    device data0 10.77.0.2 ──(the link, and its faults)── 10.77.0.1 in a network namespace of the board
                                                              ├── UDP 7777   reflector.py   how the link is: link.jsonl
                                                              ├── HTTP 8080  http.py   ─┐
                                                              └── MQTT 1883  mqtt.py   ─┴─ what arrived: receipts.jsonl

`client.py` is the coordinator's side of it, `__main__.py` the process. What arrives is evidence, so it is written here,
outside of the device; what a device sends is believed in nothing but that it sent it.
"""
