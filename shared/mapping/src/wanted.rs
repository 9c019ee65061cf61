//! What is wanted of a JSON text, as a tree of keys and indexes, and what was found of it.

use smallvec::SmallVec;

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Its number among the nodes, from 1; the root is 0.
    pub(crate) ordinal: usize,
    pub(crate) slot: Option<usize>,
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    key: Box<str>,
    /// The key as an index of an array, where it can be one.
    index: Option<usize>,
    node: Node,
}

impl Node {
    /// The child of that key, as it stands in an object.
    pub(crate) fn by_key(&self, key: &[u8]) -> Option<&Self> {
        self.children.iter().find(|child| child.key.as_bytes() == key).map(|child| &child.node)
    }

    pub(crate) fn by_index(&self, index: usize) -> Option<&Self> {
        self.children.iter().find(|child| child.index == Some(index)).map(|child| &child.node)
    }

    /// The child of that step of a path, made where it is not there yet; `nodes` counts the nodes of the tree.
    pub(crate) fn grow(&mut self, step: &str, nodes: &mut usize) -> &mut Self {
        let at = self.children.iter().position(|child| *child.key == *step).unwrap_or_else(|| {
            *nodes += 1;
            let is_index = step == "0" || !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
            let index = step.parse().ok().filter(|_| is_index);
            let fresh = Self { ordinal: *nodes, ..Self::default() };
            self.children.push(Child { key: step.into(), index, node: fresh });
            self.children.len() - 1
        });
        &mut self.children[at].node
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }
}

/// The values of slots, as they are written.
pub(crate) type Values<'r> = SmallVec<[Option<&'r str>; 16]>;

/// What is found while a text is read.
pub(crate) struct Slots<'r> {
    pub(crate) values: Values<'r>,
    /// Where in `values` the slots of the value at hand begin.
    pub(crate) base: usize,
    /// Which nodes have been met.
    pub(crate) seen: SmallVec<[bool; 32]>,
}
