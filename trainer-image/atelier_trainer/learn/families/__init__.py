"""The families of base models: how each loads, encodes, noises, predicts and draws. One file a family."""
