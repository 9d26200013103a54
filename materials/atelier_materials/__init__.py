"""What the trainer and the studio both handle: stores, pictures with their captions, and published models.

Three rooms: `store/` reads and writes a namespace's bucket or volume, `dataset/` looks at pictures and captions,
`invokeai/` installs published models there. It knows the contract and neither of its users, no cluster and no tensor.
"""
