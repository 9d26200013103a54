"""The thinking half of the operator: what is observed goes in, what is to be done and said comes out.

`decide_training_job.decide` and `decide_dataset.decide` are the two doors. Both are pure and level-triggered: the same
view at the same time gives the same plan, and no plan depends on how the view came to be. Nothing in this room knows
kopf, the Kubernetes client, the environment, the clock, chance or a logger.

    view ──► attempts, checkpoints, progress     fold what is seen into the status
         ──► starting ► preflight ► training ► finalizing, or deletion     one stage decides
         ──► state                               conditions, throttling, the Plan
"""
