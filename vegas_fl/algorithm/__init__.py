"""The algorithm, in plain PyTorch: no federation, no files, no audio. Start here.

Nodes hold recordings of a few sound classes each and do not share them. Every recording is turned into an audio
embedding ``[S, D]`` by a frozen audio encoder. A small network, the *adapter*, maps an embedding to the two text
inputs of FLUX, which then renders the sound as a picture. The goal is one adapter that knows the classes of all
nodes:

1. Each node trains an adapter on its own recordings: the target for a dog's bark is what FLUX's text encoders
   output for "a photo of a dog". No node's adapter knows the other nodes' classes.
2. Each node trains a *generator* of each of its classes, and shares only the half that draws new embeddings.
3. The server draws embeddings from all generators and asks, for each class, the adapters of the nodes that own it
   what they make of them. One student adapter learns the answers: knowledge distillation.

In the order of reading:

==============================  =======================================================================
:mod:`~.adapter`                the network: attention pooling, then an MLP
:mod:`~.training`               step 1: a node trains its adapter
:mod:`~.generators.vae`         step 2: the generator, a variational autoencoder with a fitted prior
:mod:`~.distillation`           step 3: targets, training of the student; plain averaging to compare with
``strategies/kd.py``            step 3 on the server, with the nodes' replies
==============================  =======================================================================

Beside the path: :mod:`~.generators.gmm` (a Gaussian mixture as generator), :mod:`~.generators.mlp` (imported
generators), :mod:`~.pooling` (other adapters), :mod:`~.analytic` (an adapter in closed form), :mod:`~.targets` (targets
of single clips), :mod:`~.metrics` (how good adapters are) and :mod:`~.fidelity` (how good generators are).
"""
