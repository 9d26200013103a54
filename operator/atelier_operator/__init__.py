"""The operator: watches Datasets and TrainingJobs, runs the trainer's Jobs for them, and writes their status.

`plan/` decides and is pure, `edges/` act on the cluster, `model` is the little that both must know. The operator never
writes a spec, reads no Secret, holds no storage credentials and serves nothing but metrics and its own health.
"""
