"""Whether a gateway would work on this host: a look at all that it needs, before users do, and on a bad day.

Each subject has a small file: what is asked of the machine, apart from the
verdict on the answers, which is pure. What others own (keytabs, units, batch
commands) is looked at where it is; nothing is changed, and a job is submitted
only for the user that the administrator has named.

May import: auth, auth.jupyterhub, auth.kerberos, auth.munge, auth.oidc, auth.pam, backends, backends.batch,
backends.launcher, backends.pbs, backends.slurm, clusters, config, process, proxy, store, web.admin.
"""
