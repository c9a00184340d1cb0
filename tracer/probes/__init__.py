"""L1 probes: instruments that record what each denoising step changes, and the schedules that place the steps.

Importing this package loads nothing; each module is imported by its name, as in
`from tracer.probes.named import schedule`.
"""
