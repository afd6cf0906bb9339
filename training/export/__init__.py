"""A trained planner in Hub format and as GGUF: `python -m training.export`.

write.py         the folder of an export: merged model, adapter, GGUF file, card
gguf.py          a model's weights in a copy of its base's GGUF file
gguf_adapter.py  an adapter alone as a GGUF file
card.py          the README of an exported model
"""
