"""The life of clusters: from a user's request to the end of their last job.

manager.py knows them all, cluster.py is the task tree of one. What is to be
done is decided by pure modules, without waiting for anything.

May import: auth, backends, config, proxy, proxy.dashboard, store.
"""
